"""What the web keeps in Redis: users, sessions, one-time sign-in links, API tokens, throttles.

Secrets that give access are kept hashed, so that reading Redis does not let anybody in.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_task import check_name
from yadtq.errors import ConfigError

ROLES = ("viewer", "operator", "admin")  # each may do what the ones before it may


@dataclass(frozen=True)
class User:
    """A user of the web."""

    name: str
    password_hash: str
    role: str


@dataclass(frozen=True)
class Session:
    """Somebody signed in."""

    user: str
    role: str
    created_at: float


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def check_role(role: str) -> str:
    """The role, if there is one of this name; raises ConfigError."""
    if role not in ROLES:
        raise ConfigError(f"role {role!r} is not one of {', '.join(ROLES)}")
    return role


class Accounts:
    """Accounts of one store; each call raises ResultStoreUnavailable."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._client = store.client

    def add_user(self, name: str, password_hash: str, role: str) -> None:
        """Add a user or replace one."""
        key = self._store.key("user:", check_name("user", name))
        row = {"password": password_hash, "role": check_role(role)}
        self._store.guard(lambda: self._client.hset(key, mapping=row))

    def user(self, name: str) -> User | None:
        row = self._store.guard(lambda: self._client.hgetall(self._store.key("user:", name)))
        return User(name, row[b"password"].decode(), row[b"role"].decode()) if row else None

    def has_users(self) -> bool:
        found = self._store.guard(
            lambda: next(self._client.scan_iter(match=_escape(self._store.key("user:")) + "*", count=1000), None)
        )
        return found is not None

    def create_session(self, user: str, role: str, ttl: float) -> str:
        """A new session's id; Redis keeps only its hash."""
        session_id = secrets.token_urlsafe(32)
        key = self._store.key("session:", _hashed(session_id))
        row = {"user": user, "role": check_role(role), "created": self._store.time_ms()}
        pipe = self._client.pipeline()
        pipe.hset(key, mapping=row)
        pipe.expire(key, int(ttl))
        self._store.guard(pipe.execute)
        return session_id

    def session(self, session_id: str) -> Session | None:
        row = self._store.guard(lambda: self._client.hgetall(self._store.key("session:", _hashed(session_id))))
        return Session(row[b"user"].decode(), row[b"role"].decode(), int(row[b"created"]) / 1000) if row else None

    def end_session(self, session_id: str) -> None:
        self._store.guard(lambda: self._client.delete(self._store.key("session:", _hashed(session_id))))

    def create_login_link(self, user: str, role: str, ttl: float = 600.0) -> str:
        """A token that signs in once."""
        token = secrets.token_urlsafe(24)
        key = self._store.key("login:", _hashed(token))
        pipe = self._client.pipeline()
        pipe.hset(key, mapping={"user": user, "role": check_role(role)})
        pipe.expire(key, int(ttl))
        self._store.guard(pipe.execute)
        return token

    def redeem_login_link(self, token: str) -> tuple[str, str] | None:
        """User and role, the first time; None afterwards."""
        key = self._store.key("login:", _hashed(token))
        pipe = self._client.pipeline(transaction=True)
        pipe.hgetall(key)
        pipe.delete(key)
        row, _ = self._store.guard(pipe.execute)
        return (row[b"user"].decode(), row[b"role"].decode()) if row else None

    def allow_attempt(self, bucket: str, limit: int, window: float) -> bool:
        """Whether one more attempt is allowed in the present window (seconds); counts it."""
        key = self._store.key("throttle:", _hashed(bucket))
        pipe = self._client.pipeline(transaction=True)
        pipe.set(key, 0, ex=max(1, int(window)), nx=True)
        pipe.incr(key)
        return int(self._store.guard(pipe.execute)[1]) <= limit

    def add_api_token(self, token: str, name: str, role: str) -> None:
        """Let a bearer token in; Redis keeps only its hash."""
        row = {"name": name, "role": check_role(role)}
        self._store.guard(lambda: self._client.hset(self._store.key("token:", _hashed(token)), mapping=row))

    def api_token_role(self, token: str) -> str | None:
        role = self._store.guard(lambda: self._client.hget(self._store.key("token:", _hashed(token)), "role"))
        return role.decode() if role else None

    def web_secret(self) -> str:
        """The cookie key shared by all web processes where none is set; made at the first call."""
        key = self._store.key("web_secret")
        found = self._store.guard(lambda: self._client.get(key))
        if found is None:
            self._store.guard(lambda: self._client.set(key, secrets.token_urlsafe(48), nx=True))
            found = self._store.guard(lambda: self._client.get(key))
        return str(found.decode())


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)
