"""Users with a password, and one-time links that sign in without one."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace

from yadtq.core.accounts.base import AccountPart, check_role, hashed
from yadtq.core.yadtq_task import check_name
from yadtq.errors import ConfigError


@dataclass(frozen=True)
class User:
    """A user of the web, or whom a link stands for."""

    name: str
    role: str
    password_hash: str = field(default="", repr=False)
    version: str = ""  # another one with each change: sessions of an earlier one are over
    changed_at: float = 0.0


class Users(AccountPart):
    """Users and links."""

    def add_user(self, name: str, password_hash: str, role: str) -> None:
        """Add a user or replace one, whose sessions end. Raises InvalidName, ConfigError."""
        self._write(check_name("user", name), {"role": check_role(role), "password": password_hash})

    def change_user(self, name: str, *, role: str, password_hash: str | None = None) -> None:
        """Give a user another role, and another password where one is given; the user's sessions end. Raises ConfigError."""
        if self.user(name) is None:
            raise ConfigError(f"there is no user {name[:128]!r}")
        changed = {} if password_hash is None else {"password": password_hash}
        self._write(name, {"role": check_role(role), **changed})

    def change_password(self, user: User, password_hash: str) -> User | None:
        """The user with another password, whose sessions end; None where it was changed or deleted since it was read."""
        values = {"password": password_hash, **self._new_version()}
        if not self._write_as_seen(self._store.key("user:", user.name), "version", user.version, values):
            return None
        return replace(user, password_hash=password_hash, version=values["version"])

    def delete_user(self, name: str) -> bool:
        """Whether there was such a user; sessions and unused links end with it."""
        pipe = self._client.pipeline(transaction=True)
        pipe.delete(self._store.key("user:", name))
        pipe.srem(self._store.key("users"), name)
        return bool(self._store.guard(pipe.execute)[0])

    def user(self, name: str) -> User | None:
        return _user(name, self._store.guard(lambda: self._client.hgetall(self._store.key("user:", name))))

    def users(self) -> list[User]:
        """All users by name."""
        names = sorted(
            raw.decode() for raw in self._store.guard(lambda: self._client.smembers(self._store.key("users")))
        )
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.hgetall(self._store.key("user:", name))
        rows = self._store.guard(pipe.execute) if names else []
        found = (_user(name, row) for name, row in zip(names, rows, strict=True))
        return [user for user in found if user is not None]

    def has_users(self) -> bool:
        return bool(self._store.guard(lambda: self._client.scard(self._store.key("users"))))

    def create_login_link(self, user: str, role: str, ttl: float = 600.0) -> str:
        """A token that signs in once, within ``ttl`` seconds and while the user of this name, if there is one, is not changed."""
        token = secrets.token_urlsafe(24)
        key = self._store.key("login:", hashed(token))
        row = {"user": user, "role": check_role(role), "version": self._version(user)}
        pipe = self._client.pipeline()
        pipe.hset(key, mapping=row)
        pipe.expire(key, int(ttl))
        self._store.guard(pipe.execute)
        return token

    def redeem_login_link(self, token: str) -> User | None:
        """Whom it signs in, the first time; None afterwards."""
        key = self._store.key("login:", hashed(token))
        pipe = self._client.pipeline(transaction=True)
        pipe.hgetall(key)
        pipe.delete(key)
        row, _ = self._store.guard(pipe.execute)
        return User(row[b"user"].decode(), row[b"role"].decode(), version=row[b"version"].decode()) if row else None

    def _version(self, name: str) -> str:
        found = self._store.guard(lambda: self._client.hget(self._store.key("user:", name), "version"))
        return found.decode() if found else ""

    def _write(self, name: str, values: dict[str, str]) -> None:
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(self._store.key("user:", name), mapping={**values, **self._new_version()})
        pipe.sadd(self._store.key("users"), name)
        self._store.guard(pipe.execute)

    def _new_version(self) -> dict[str, str]:
        return {"version": secrets.token_hex(8), "changed": str(self._store.time_ms())}


def _user(name: str, row: dict[bytes, bytes]) -> User | None:
    if b"password" not in row:
        return None
    texts = {field.decode(): value.decode() for field, value in row.items()}
    return User(name, texts["role"], texts["password"], texts["version"], int(texts["changed"]) / 1000)
