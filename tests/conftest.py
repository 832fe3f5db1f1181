"""Fixtures that every level shares: a real Kafka and Redis, started once a run, when a test asks."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import settings

from yadtq.embedded import EmbeddedError, EmbeddedKafka, EmbeddedRedis

# How long an example takes depends on the machine.
settings.register_profile("unhurried", settings.get_profile("default"), deadline=None)
settings.load_profile("unhurried")

Server = TypeVar("Server", EmbeddedKafka, EmbeddedRedis)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    server = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), ports=[0], on_progress=print)
    yield started_or_skipped(server)
    server.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"), port=0)
    yield started_or_skipped(server)
    server.stop()


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis of this module's own, that its tests may kill, stop, fill and empty."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("own-redis"), port=0)
    yield started_or_skipped(server)
    server.stop()


@pytest.fixture
def fresh_settings(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Callable[..., dict[str, Any]]:
    """Settings for ``create_yadtq``, with new names at each call: tests share servers and nothing else."""

    def settings(**others: Any) -> dict[str, Any]:
        unique = f"yt_{uuid.uuid4().hex[:8]}"
        ours = {
            "kafka_servers": kafka.bootstrap_servers,
            "redis_url": redis_server.url,
            "topic": unique,
            "group_id": unique,
            "redis_prefix": f"{unique}:",
        }
        return {**ours, **others}

    return settings


def started_or_skipped(server: Server) -> Server:
    """A laptop without the servers skips their tests and says why; CI fails."""
    try:
        server.start()
    except EmbeddedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return server
