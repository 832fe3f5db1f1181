"""API tokens: each has a name and a role, is shown once, may expire, and can be revoked."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from yadtq.core.accounts.base import AccountPart, check_role, hashed
from yadtq.core.yadtq_task import check_name
from yadtq.errors import ConfigError, ResultStoreUnavailable

LONGEST_DAYS = 3650
_DAY_MS = 86_400_000
_NOTED_EVERY = 60.0  # seconds, so that requests cost no write each


@dataclass(frozen=True)
class ApiToken:
    """What is known of a token; not the token. Times in seconds since the epoch."""

    name: str
    role: str
    by: str  # who made it
    created_at: float
    expires_at: float | None  # None: never
    used_at: float | None  # to the minute; None: not yet
    expired: bool


class Tokens(AccountPart):
    """Tokens of the JSON API; Redis keeps only their hashes."""

    def create_api_token(self, name: str, role: str, by: str = "", days: int | None = None) -> str:
        """A new token, told this once; without ``days`` it never expires. Raises InvalidName, ConfigError."""
        token, now = f"yadtq_{secrets.token_urlsafe(32)}", self._store.time_ms()
        row = {"name": check_name("token", name), "role": check_role(role), "by": by, "created": now}
        if days is not None:
            row["expires"] = now + _check_days(days) * _DAY_MS
        key, index = self._store.key("token:", hashed(token)), self._store.key("tokens")
        # The row first: were it the name, a crash in between would leave a name that nobody can take.
        self._store.guard(lambda: self._client.hset(key, mapping=row))
        if not self._store.guard(lambda: self._client.hsetnx(index, name, hashed(token))):
            self._store.guard(lambda: self._client.delete(key))
            raise ConfigError(f"there is a token named {name} already; revoke it first, or choose another name")
        return token

    def use_api_token(self, token: str) -> ApiToken | None:
        """What this token stands for, be it expired; None when it was revoked or never made. Notes that it was used."""
        now, [found] = self._look_up([hashed(token)])
        if found is not None and not found.expired and now - (found.used_at or 0) >= _NOTED_EVERY:
            self._note_use(hashed(token), found.name, now)
        return found

    def api_tokens(self) -> list[ApiToken]:
        """All tokens by name."""
        index = self._store.guard(lambda: self._client.hgetall(self._store.key("tokens")))
        _, found = self._look_up([digest.decode() for digest in index.values()])
        return sorted((one for one in found if one is not None), key=lambda one: one.name)

    def revoke_api_token(self, name: str) -> bool:
        """Whether there was such a token; it lets nobody in any more."""
        index = self._store.key("tokens")
        digest = self._store.guard(lambda: self._client.hget(index, name))
        if digest is None:
            return False
        pipe = self._client.pipeline(transaction=True)
        pipe.delete(self._store.key("token:", digest.decode()))
        pipe.hdel(index, name)
        self._store.guard(pipe.execute)
        return True

    def _look_up(self, digests: Iterable[str]) -> tuple[float, list[ApiToken | None]]:
        """Redis' time (s), and the tokens as of then."""
        pipe = self._client.pipeline(transaction=False)
        pipe.time()
        for digest in digests:
            pipe.hgetall(self._store.key("token:", digest))
        (seconds, micros), *rows = self._store.guard(pipe.execute)
        now = seconds + micros / 1e6
        return now, [_token(row, now) for row in rows]

    def _note_use(self, digest: str, name: str, now: float) -> None:
        """No request is refused because its time cannot be noted, as where Redis is full."""
        key = self._store.key("token:", digest)
        with contextlib.suppress(ResultStoreUnavailable):
            self._write_as_seen(key, "name", name, {"used": round(now * 1000)})  # or a revoked token would leave a row


def validity(days: int | None) -> str:
    """How long a token is valid, in words."""
    return "never expires" if days is None else f"expires in {days} {'day' if days == 1 else 'days'}"


def _check_days(days: int) -> int:
    if not 1 <= days <= LONGEST_DAYS:
        raise ConfigError(
            f"a token is valid for 1 to {LONGEST_DAYS} days, not {days}; without a number of days it never expires"
        )
    return days


def _token(row: dict[bytes, bytes], now: float) -> ApiToken | None:
    if not row:
        return None
    name, role, by = (row[field].decode() for field in (b"name", b"role", b"by"))
    expires, used = (int(row[field]) / 1000 if field in row else None for field in (b"expires", b"used"))
    return ApiToken(
        name,
        role,
        by,
        created_at=int(row[b"created"]) / 1000,
        expires_at=expires,
        used_at=used,
        expired=expires is not None and expires <= now,
    )
