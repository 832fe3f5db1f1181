"""Settings: one frozen, checked value; its fields are the table of name, default and help.

Each setting can be given to ``create_yadtq(name=…)`` or by the environment variable
``YADTQ_NAME``; an explicit argument wins. ``docs/settings.md`` is tested against this table.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints
from urllib.parse import quote, urlsplit

from yadtq.config_servers import bracketed, check_servers
from yadtq.errors import ConfigError

ENV_PREFIX = "YADTQ_"
POOLS = ("thread", "process")
MAX_KEY_ID = 64  # characters of a signing key's id
_PARTS_OF_URL = {"redis_host", "redis_port", "redis_db", "redis_username", "redis_password", "redis_ssl"}


def _setting(default: Any, help_text: str, *, secret: bool = False) -> Any:
    return dataclasses.field(default=default, repr=not secret, metadata={"help": help_text, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """Every setting of clients, workers and the web; build it with :func:`load_settings`."""

    kafka_servers: tuple[str, ...] = _setting(
        ("localhost:9092",), "Kafka bootstrap servers, HOST:PORT, comma separated"
    )
    kafka_security_protocol: str = _setting("PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    kafka_sasl_mechanism: str | None = _setting(None, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    kafka_username: str | None = _setting(None, "user name for SASL")
    kafka_password: str | None = _setting(None, "password for SASL", secret=True)
    kafka_ssl_cafile: str | None = _setting(
        None, "file with the CA certificates that Kafka's certificate must chain to; default: those of the system"
    )
    kafka_ssl_certfile: str | None = _setting(None, "file with the client's certificate, where Kafka wants one (PEM)")
    kafka_ssl_keyfile: str | None = _setting(None, "file with its key, unless kafka_ssl_certfile holds it (PEM)")
    kafka_ssl_key_password: str | None = _setting(None, "password of that key", secret=True)
    topic: str = _setting("yadtq_tasks", "topic of the default queue; other queues use <topic>.<queue>")
    dead_topic: str = _setting("yadtq_dead", "topic for records that cannot be trusted or read")
    group_id: str = _setting("yadtq", "Kafka consumer group of the workers")
    partitions: int = _setting(12, "partitions of a topic when YADTQ creates it")
    replication_factor: int = _setting(-1, "replicas of a topic when YADTQ creates it; -1 is the broker's default")
    redis_url: str | None = _setting(
        None, "Redis as redis://, rediss:// or unix://; instead of the redis_… settings", secret=True
    )
    redis_host: str = _setting("localhost", "Redis host")
    redis_port: int = _setting(6379, "Redis port")
    redis_db: int = _setting(0, "Redis database number")
    redis_username: str | None = _setting(None, "Redis ACL user")
    redis_password: str | None = _setting(None, "Redis password", secret=True)
    redis_ssl: bool = _setting(False, "TLS to redis_host; in redis_url, rediss:// says it")
    redis_ssl_cafile: str | None = _setting(
        None, "file with the CA certificates that Redis' certificate must chain to; default: those of the system"
    )
    redis_ssl_certfile: str | None = _setting(None, "file with the client's certificate, where Redis wants one (PEM)")
    redis_ssl_keyfile: str | None = _setting(None, "file with its key, unless redis_ssl_certfile holds it (PEM)")
    redis_ssl_key_password: str | None = _setting(None, "password of that key", secret=True)
    redis_prefix: str = _setting("yadtq:", "what every Redis key begins with")
    signing_keys: tuple[str, ...] = _setting((), "ID:SECRET, comma separated; the first signs, all verify", secret=True)
    signing: str = _setting("auto", "auto (required unless Kafka is on loopback), required, or off (loopback only)")
    result_ttl: float = _setting(86_400.0, "seconds a finished task and its result are kept (at least 2 h)")
    failed_ttl: float = _setting(1_209_600.0, "seconds a failed task is kept (at least 2 h)")
    topic_retention: float = _setting(
        604_800.0, "seconds Kafka keeps the topics' records; cancelled tasks leave a marker as long"
    )
    durable: bool = _setting(
        False,
        "wait on each submit until Redis has written it to disk, else raise SubmitUncertain (Redis >= 7.2, appendonly)",
    )
    retries: int = _setting(3, "attempts after the first, where the task or the submit does not say")
    retry_backoff: float = _setting(1.0, "seconds before the first retry at most; doubles each time, with full jitter")
    retry_backoff_max: float = _setting(600.0, "seconds a retry's pause never exceeds")
    queues: tuple[str, ...] = _setting(("default",), "queues a worker takes from, comma separated")
    concurrency: int = _setting(8, "tasks one worker runs at once")
    pool: str = _setting("thread", "where a worker's tasks run: thread, or process (a child process for each slot)")
    timeout_grace: float = _setting(
        10.0,
        "seconds a task may go on after its time limit, or a cancel, was raised in it; then its process is killed, or its thread given up",
    )
    grace: float = _setting(25.0, "seconds a stopping worker gives its running tasks")
    worker_name: str | None = _setting(None, "a worker's name; default HOST-PID")
    time_scale: float = _setting(1.0, "factor on the engine's own times (beat 5 s, offline 30 s …); for tests")
    web_host: str = _setting("127.0.0.1", "address the web listens on")
    web_port: int = _setting(8000, "port the web listens on")
    web_url: str | None = _setting(
        None, "the web's address as browsers see it; its origin is the one websockets may come from"
    )
    secret_key: str | None = _setting(None, "key of the web's signed cookies, at least 32 characters", secret=True)
    api_token: str | None = _setting(None, "bearer token accepted by the JSON API", secret=True)
    read_only: bool = _setting(False, "let nobody change anything through the web: it refuses, and shows no buttons")
    web_proxies: int = _setting(
        0, "proxies in front of the web that add to X-Forwarded-For; with 0 the header is not believed"
    )
    live_poll: float = _setting(1.0, "seconds between the live pages' own looks at Redis")
    live_notifications: bool = _setting(True, "let Redis keyspace notifications wake the live pages")
    log_level: str = _setting("INFO", "DEBUG, INFO, WARNING or ERROR")

    @property
    def redis_address(self) -> str:
        """Redis' address without a password, for messages."""
        if self.redis_url is None:
            return f"{bracketed(self.redis_host)}:{self.redis_port}"
        parts = urlsplit(self.redis_url)
        return f"{bracketed(parts.hostname)}:{parts.port or 6379}" if parts.hostname else parts.path

    @property
    def redis_location(self) -> str:
        """Redis as one URL, made of the single settings where no URL was given."""
        if self.redis_url is not None:
            scheme, _, rest = self.redis_url.partition(":")
            return f"{scheme.lower()}:{rest}"  # redis-py knows the small letters alone
        login = ""
        if self.redis_username or self.redis_password:
            login = f"{quote(self.redis_username or '', safe='')}:{quote(self.redis_password or '', safe='')}@"
        scheme = "rediss" if self.redis_ssl else "redis"
        return f"{scheme}://{login}{bracketed(self.redis_host)}:{self.redis_port}/{self.redis_db}"

    @property
    def redis_tls(self) -> bool:
        """Whether Redis is spoken to in TLS."""
        return self.redis_location.startswith("rediss:")

    @property
    def kafka_tls(self) -> bool:
        """Whether Kafka is spoken to in TLS."""
        return self.kafka_security_protocol.endswith("SSL")

    @property
    def kafka_address(self) -> str:
        """Kafka's servers, for messages."""
        return ", ".join(self.kafka_servers)

    @property
    def signing_required(self) -> bool:
        """Whether records without a valid signature are refused."""
        if self.signing == "auto":
            return bool(self.signing_keys) or not all(map(_is_loopback, self.kafka_servers))
        return self.signing == "required"


_SECRETS = frozenset(field.name for field in dataclasses.fields(Settings) if field.metadata["secret"])


def load_settings(environ: Mapping[str, str] | None = None, **explicit: Any) -> Settings:
    """Settings from ``YADTQ_*`` variables and keyword arguments; arguments win.

    Raises:
        ConfigError: unknown name, value of the wrong kind, or two settings that contradict.
    """
    types = get_type_hints(Settings)
    unknown = sorted(set(explicit) - set(types))
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]!r}; docs/settings.md lists all of them")
    given = {name: value for name, value in explicit.items() if value is not None}
    found = _from_environment(os.environ if environ is None else environ, types)
    values = {**_without_overruled(found, given), **given}
    for name, value in values.items():
        values[name] = _coerce(name, value, types[name])
    settings = Settings(**values)
    _check(settings)
    return settings


def _without_overruled(found: dict[str, str], given: Mapping[str, Any]) -> dict[str, str]:
    """The environment's values less those on Redis' place that the arguments say otherwise."""
    parts = sorted(_PARTS_OF_URL & set(given))
    if "redis_url" in given:
        if parts:
            raise ConfigError(
                f"redis_url was given together with {parts[0]}, which the URL holds; give one or the other"
            )
        return {name: value for name, value in found.items() if name not in _PARTS_OF_URL}
    if {"redis_host", "redis_port"} & set(given):
        return {name: value for name, value in found.items() if name != "redis_url"}
    if parts and "redis_url" in found:
        raise ConfigError(f"{parts[0]} was given, but YADTQ_REDIS_URL is set and holds it; put it into the URL")
    return found


def _from_environment(environ: Mapping[str, str], types: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: environ[ENV_PREFIX + name.upper()] for name in types if environ.get(ENV_PREFIX + name.upper())}
    known = {ENV_PREFIX + name.upper() for name in types}
    stray = sorted(name for name in environ if name.startswith(ENV_PREFIX) and name not in known)
    if stray:
        raise ConfigError(f"unknown environment variable {stray[0]}; docs/settings.md lists all of them")
    beside = sorted(_PARTS_OF_URL & set(found))
    if "redis_url" in found and beside:
        raise ConfigError(f"YADTQ_REDIS_URL is set together with YADTQ_{beside[0].upper()}; set one or the other")
    return found


def _coerce(name: str, value: Any, kind: Any) -> Any:
    try:
        if kind == tuple[str, ...]:
            parts = value.split(",") if isinstance(value, str) else list(value)
            if not all(isinstance(part, str) for part in parts):
                raise TypeError(name)
            return tuple(part.strip() for part in parts if part.strip())
        if kind is bool:
            return _boolean(value)
        if kind in (int, float):
            number = kind(value)
            if not math.isfinite(number) or number != float(value):
                raise ValueError(value)
            return number
        return str(value)
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        expected = "a list of texts" if kind == tuple[str, ...] else f"a {kind.__name__}"
        shown = "" if name in _SECRETS else f"={value!r}"
        raise ConfigError(f"{name}{shown} is not {expected}") from error


def _boolean(value: Any) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _is_loopback(server: str) -> bool:
    host = server.rsplit(":", 1)[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(settings: Settings) -> None:
    """Refuse values that cannot work, naming the setting."""
    positive = (
        "partitions",
        "concurrency",
        "result_ttl",
        "failed_ttl",
        "topic_retention",
        "time_scale",
        "live_poll",
        "retry_backoff_max",
    )
    for name in positive:
        if getattr(settings, name) <= 0:
            raise ConfigError(f"{name} must be greater than 0, not {getattr(settings, name)}")
    for name in ("retries", "retry_backoff", "timeout_grace", "grace", "redis_db", "web_proxies"):
        if getattr(settings, name) < 0:
            raise ConfigError(f"{name} must not be negative, not {getattr(settings, name)}")
    for name in ("redis_port", "web_port"):
        if not 0 < getattr(settings, name) < 65_536:
            raise ConfigError(f"{name} must be between 1 and 65535, not {getattr(settings, name)}")
    check_servers(settings)
    if not settings.queues:
        raise ConfigError("queues is empty; a worker needs at least one queue")
    if settings.pool not in POOLS:
        raise ConfigError(f"pool must be thread or process, not {settings.pool!r}")
    if settings.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ConfigError(f"log_level must be DEBUG, INFO, WARNING or ERROR, not {settings.log_level!r}")
    _check_signing(settings)


def _check_signing(settings: Settings) -> None:
    if settings.signing not in ("auto", "required", "off"):
        raise ConfigError(f"signing must be auto, required or off, not {settings.signing!r}")
    numbers: dict[str, int] = {}  # of the keys, by their ids
    for number, key in enumerate(settings.signing_keys, 1):
        key_id, _, secret = key.partition(":")
        if not key_id or len(secret) < 16:
            raise ConfigError(f"signing key {number} must be ID:SECRET with a secret of at least 16 characters")
        if len(key_id) > MAX_KEY_ID or not key_id.isprintable():  # it stands in each record, and in one line
            raise ConfigError(
                f"the id of signing key {number} must be 1 to {MAX_KEY_ID} characters that can be printed"
            )
        if numbers.setdefault(key_id, number) != number:  # one of them would be forgotten
            raise ConfigError(f"signing keys {numbers[key_id]} and {number} have the same id; give each one of its own")
    if settings.signing == "off" and not all(map(_is_loopback, settings.kafka_servers)):
        raise ConfigError(
            f"signing=off is only for a Kafka on this machine, not for {settings.kafka_address}; set YADTQ_SIGNING_KEYS"
        )
    if settings.signing_required and not settings.signing_keys:
        raise ConfigError(
            f"Kafka at {settings.kafka_address} is not on this machine, so tasks must be signed: set YADTQ_SIGNING_KEYS=ID:SECRET, the same for clients and workers"
        )
