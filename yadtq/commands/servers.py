"""The options every command shares: which Kafka, which Redis, and JSON instead of tables."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from yadtq.config import Settings, load_settings

_kafka = click.option("--kafka", metavar="HOST:PORT", help="Kafka bootstrap servers, comma separated.")
_redis = click.option("--redis", metavar="URL", help="Redis as redis://HOST:PORT/DB.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


@dataclass(frozen=True)
class Servers:
    """What the command line said about the servers; the environment gives the rest."""

    kafka: str | None = None
    redis: str | None = None

    @property
    def explicit(self) -> dict[str, Any]:
        """As arguments of ``create_yadtq``."""
        given = {"kafka_servers": self.kafka, "redis_url": self.redis}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def environment(self) -> dict[str, str]:
        """As variables of a child process: a password on its command line would be there for all to read."""
        return {f"YADTQ_{name.upper()}": value for name, value in self.explicit.items()}

    def settings(self, **more: Any) -> Settings:
        """The checked settings."""
        return load_settings(**self.explicit, **more)


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--kafka`` and ``--redis``; the command gets them as ``servers``."""

    @functools.wraps(command)
    def with_servers(*args: Any, kafka: str | None, redis: str | None, **kwargs: Any) -> Any:
        return command(*args, servers=Servers(kafka, redis), **kwargs)

    return _kafka(_redis(with_servers))
