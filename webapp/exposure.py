"""Who can reach the web: its origins, its cookie, and what it refuses to be open without."""

from __future__ import annotations

import ipaddress
import logging
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from yadtq.errors import ConfigError, ResultStoreUnavailable

if TYPE_CHECKING:
    from webapp.engine import Engine
    from yadtq.config import Settings

log = logging.getLogger(__name__)

SESSION_TTL = 7 * 86_400.0  # seconds a sign-in lasts
_MIN_KEY = 32
_KNOWN_KEYS = ("changeme", "secret", "password", "yadtq", "example", "0123456789", "abcdef")
_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to the host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def allowed_origins(settings: Settings) -> frozenset[str]:
    """The exact origins a browser may open the websocket from."""
    local = frozenset(f"http://{name}:{settings.web_port}" for name in _LOOPBACK_NAMES)
    if settings.web_url is None:
        return local if is_loopback(settings.web_host) else frozenset()
    address = urlsplit(settings.web_url)
    named = frozenset({f"{address.scheme}://{address.netloc}".lower()})
    return named | local if is_loopback(address.hostname or "") else named


def check_exposure(engine: Engine) -> None:
    """Refuse to be reachable from other machines half locked.

    Raises:
        ConfigError: a weak or missing secret key, no address to check origins against, or no user.
    """
    settings = engine.settings
    if settings.secret_key is not None:
        _check_key("secret_key", settings.secret_key, "sign in as anybody")
    if is_loopback(settings.web_host):
        return
    if settings.secret_key is None:
        raise ConfigError(
            f"web_host {settings.web_host} is open to other machines, so sign-ins need a key of your own:"
            " set YADTQ_SECRET_KEY to 32 or more random characters"
        )
    if settings.web_url is None:
        raise ConfigError(
            f"web_host {settings.web_host} is open to other machines, so the pages must know their address:"
            " set YADTQ_WEB_URL to what people type, for example https://tasks.example.org"
        )
    if settings.api_token is not None:
        _check_key("api_token", settings.api_token, "use the API as admin")
    _check_users(engine)


def _check_key(name: str, key: str, power: str) -> None:
    known = key.lower().startswith(_KNOWN_KEYS) or len(set(key)) < 8
    if len(key) < _MIN_KEY or known:
        raise ConfigError(
            f"{name} is short or easily guessed, and whoever guesses it can {power}:"
            f" set YADTQ_{name.upper()} to {_MIN_KEY} or more random characters"
        )


def _check_users(engine: Engine) -> None:
    try:
        if engine.accounts.has_users():
            return
    except ResultStoreUnavailable as error:
        # Safe to go on: without Redis nobody can sign in at all.
        log.warning("cannot look for users yet: %s", error)
        return
    raise ConfigError("nobody could sign in: make the first user with `yadtq user add NAME --role admin`")


def secret_key(engine: Engine) -> str:
    """What signs the cookie: the setting, else one that all processes share through Redis."""
    if engine.settings.secret_key is not None:
        return engine.settings.secret_key
    try:
        return engine.accounts.web_secret()
    except ResultStoreUnavailable as error:
        log.warning("sign-ins last until this process ends, since no key could be shared: %s", error)
        return secrets.token_urlsafe(_MIN_KEY)


def cookie_settings(engine: Engine) -> dict[str, Any]:
    """Flask's configuration of the signed cookie and of the host names it answers to."""
    settings = engine.settings
    address = urlsplit(settings.web_url or f"http://{settings.web_host}:{settings.web_port}")
    secure = address.scheme == "https"
    config: dict[str, Any] = {
        "SECRET_KEY": secret_key(engine),
        # Browsers share cookies between ports, so two dashboards on one machine need two names.
        "SESSION_COOKIE_NAME": "__Host-yadtq" if secure else f"yadtq_{address.port or 80}",
        "SESSION_COOKIE_SECURE": secure,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "PERMANENT_SESSION_LIFETIME": SESSION_TTL,
        "WTF_CSRF_TIME_LIMIT": None,  # a token lives as long as its session
    }
    if is_loopback(settings.web_host):
        # Health probes of other machines use bare addresses, so only a local bind can be this strict.
        config["TRUSTED_HOSTS"] = [*_LOOPBACK_NAMES, address.hostname or "localhost"]
    return config
