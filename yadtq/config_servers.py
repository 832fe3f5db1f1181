"""What the settings about Kafka's and Redis' places, logins and TLS must fulfil together."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from yadtq.errors import ConfigError

if TYPE_CHECKING:
    from yadtq.config import Settings

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def check_servers(settings: Settings) -> None:
    """Refuse what cannot work, naming the setting; raises ConfigError."""
    _check_places(settings)
    _check_login(settings)
    _check_tls(settings)


def _check_places(settings: Settings) -> None:
    if not settings.kafka_servers:
        raise ConfigError("kafka_servers is empty; give at least one HOST:PORT")
    for server in settings.kafka_servers:
        if not server.rpartition(":")[0] or not server.rpartition(":")[2].isdigit():
            raise ConfigError(f"kafka_servers holds {server!r}, which is not HOST:PORT")
    if settings.redis_url is not None:
        _check_redis_url(settings.redis_url)


def _check_redis_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("redis", "rediss", "unix") and parts.port != 0
    except ValueError:  # a port that is no number; the error would repeat the URL's parts
        usable = False
    if not usable:
        raise ConfigError("redis_url must be redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH")


def _check_login(settings: Settings) -> None:
    """SASL whole or not at all."""
    protocol = settings.kafka_security_protocol
    if protocol not in _PROTOCOLS:
        raise ConfigError(f"kafka_security_protocol must be {', '.join(_PROTOCOLS)}, not {protocol!r}")
    login = ("kafka_sasl_mechanism", "kafka_username", "kafka_password")
    if not protocol.startswith("SASL"):
        given = [name for name in login if getattr(settings, name) is not None]
        if given:
            raise ConfigError(
                f"{given[0]} is set, but kafka_security_protocol={protocol} logs nobody in; make it SASL_SSL"
            )
        return
    missing = [name for name in login if not getattr(settings, name)]
    if missing:
        raise ConfigError(f"kafka_security_protocol={protocol} needs {missing[0]} too")
    if settings.kafka_sasl_mechanism not in _MECHANISMS:
        raise ConfigError(
            f"kafka_sasl_mechanism must be {', '.join(_MECHANISMS)}, not {settings.kafka_sasl_mechanism!r}"
        )


def _check_tls(settings: Settings) -> None:
    """No certificates where no TLS is spoken, no key without its certificate."""
    servers = (
        ("kafka", settings.kafka_tls, "kafka_security_protocol is not SSL or SASL_SSL"),
        ("redis", settings.redis_tls, "redis_ssl is off, or redis_url does not begin with rediss://"),
    )
    for server, tls, otherwise in servers:
        names = [f"{server}_ssl_{kind}" for kind in ("cafile", "certfile", "keyfile", "key_password")]
        given = [name for name in names if getattr(settings, name) is not None]
        if given and not tls:
            raise ConfigError(f"{given[0]} is set, but {otherwise}")
        if set(given) & set(names[2:]) and names[1] not in given:
            raise ConfigError(f"{given[-1]} is set without {names[1]}, whose key it is about")
