"""What the settings about Kafka's and Redis' places, logins and TLS must fulfil together."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from yadtq.errors import ConfigError

if TYPE_CHECKING:
    from yadtq.config import Settings

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_MOST = 1_000_000  # seconds or pieces; a socket takes no timeout of much more


def _number(kind: Callable[[str], float], least: float = 0.001) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        number = kind(text)
        return math.isfinite(number) and least <= number <= _MOST

    return fits


def _text(_text: str) -> bool:
    return True


# What may follow redis_url's ?, and which values. Whatever else redis-py takes there is no text at all, or changes what
# its answers look like.
_OPTIONS: dict[str, Callable[[str], bool]] = {
    "username": _text,
    "password": _text,
    "db": _number(int, 0),
    "client_name": _text,
    "socket_timeout": _number(float),
    "socket_connect_timeout": _number(float),
    "socket_read_size": _number(int),
    "retry_on_timeout": _text,
    "health_check_interval": _number(int, 0),
    "max_connections": _number(int),
}
_TCP_OPTIONS = {**_OPTIONS, "socket_keepalive": _text}
_TLS_OPTIONS = {
    **_TCP_OPTIONS,
    "ssl_keyfile": _text,
    "ssl_certfile": _text,
    "ssl_password": _text,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_ca_data": _text,
    "ssl_ciphers": _text,
    "ssl_check_hostname": _text,
    "ssl_cert_reqs": ("none", "optional", "required").__contains__,
    "ssl_min_version": lambda text: int(text) in list(ssl.TLSVersion),
}
_OPTIONS_OF = {"redis": _TCP_OPTIONS, "rediss": _TLS_OPTIONS, "unix": _OPTIONS}


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
        _check_redis_url(settings.redis_location)
    else:
        _check_redis_host(settings)


def bracketed(host: str) -> str:
    """A host as an address with a port has it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _check_redis_host(settings: Settings) -> None:
    try:
        found = urlsplit(settings.redis_location).hostname
    except ValueError:
        found = None
    if found is None or found.lower() != settings.redis_host.strip("[]").lower():
        raise ConfigError(
            "redis_host must be a host's name or address alone; port, database and login are settings of their own"
        )


def _check_redis_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = url.startswith(tuple(f"{scheme}://" for scheme in _OPTIONS_OF)) and parts.port != 0
    except ValueError:  # a port that is no number; the error would repeat the URL's parts
        usable = False
    if not usable or "@" in parts.query:  # it belongs to a password that holds a ?
        raise ConfigError("redis_url must be redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH")
    known = _OPTIONS_OF[parts.scheme]
    for name, (value, *_) in parse_qs(parts.query).items():
        if name not in known:
            raise ConfigError(f"redis_url holds the option {name[:40]!r}, which {parts.scheme}:// does not have here")
        try:
            fits = known[name](value)
        except ValueError:
            fits = False
        if not fits:
            raise ConfigError(f"redis_url gives its option {name} a value that cannot be used")


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
