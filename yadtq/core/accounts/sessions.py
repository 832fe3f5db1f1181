"""Who is signed in. A session holds as long as its user is not changed, and can be ended from anywhere."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from yadtq.core.accounts.base import AccountPart, hashed
from yadtq.core.accounts.users import User


@dataclass(frozen=True)
class Session:
    """Somebody signed in; times in seconds since the epoch."""

    id: str  # names it on pages; it lets nobody in
    user: str
    role: str
    created_at: float
    expires_at: float
    address: str
    agent: str  # the browser, as it calls itself


class Sessions(AccountPart):
    """Sessions of the web."""

    def create_session(self, user: User, ttl: float, address: str = "", agent: str = "") -> str:
        """A new session's secret for the cookie; Redis keeps only its hash."""
        secret = f"{user.name}.{secrets.token_urlsafe(32)}"  # the name saves a call at each look
        session_id, now = hashed(secret), self._store.time_ms()
        expires = now + int(ttl * 1000)
        row = {
            "user": user.name,
            "role": user.role,
            "version": user.version,
            "created": now,
            "expires": expires,
            "address": address,
            "agent": agent[:200],
        }
        key, index = self._store.key("session:", session_id), self._store.key("sessions")
        pipe = self._client.pipeline(transaction=True)
        pipe.hset(key, mapping=row)
        pipe.expire(key, int(ttl))
        pipe.zremrangebyscore(index, "-inf", now)
        pipe.zadd(index, {session_id: expires})
        self._store.guard(pipe.execute)
        return secret

    def session(self, secret: str) -> Session | None:
        """The session a cookie's secret stands for; None when it is over."""
        return next(iter(self._read([(hashed(secret), secret.rpartition(".")[0])])), None)

    def ended_sessions(self, cookies: Iterable[str]) -> set[str]:
        """Those of the cookies' secrets whose sessions are over; one round trip for all."""
        wanted = {hashed(secret): secret for secret in cookies}
        held = {one.id for one in self._read([(key, secret.rpartition(".")[0]) for key, secret in wanted.items()])}
        return {secret for key, secret in wanted.items() if key not in held}

    def sessions(self, user: str | None = None) -> list[Session]:
        """Those of one user, or all; the newest first."""
        ids = self._store.guard(lambda: self._client.zrevrange(self._store.key("sessions"), 0, -1))
        pipe = self._client.pipeline(transaction=False)
        for raw in ids:
            pipe.hget(self._store.key("session:", raw.decode()), "user")
        owners = self._store.guard(pipe.execute) if ids else []
        known = [(raw.decode(), owner.decode()) for raw, owner in zip(ids, owners, strict=True) if owner]
        return self._read([(one, owner) for one, owner in known if user in (None, owner)])

    def end_session(self, secret: str) -> None:
        """Sign out the browser that holds this secret."""
        self._end([hashed(secret)])

    def end_session_of(self, user: str | None, session_id: str) -> Session | None:
        """End the session of this id, if it is this user's or ``user`` is None; returns what was ended."""
        found = next((one for one in self.sessions(user) if one.id == session_id), None)
        if found is not None:
            self._end([found.id])
        return found

    def end_sessions(self, user: str) -> int:
        """Sign a user out everywhere; returns how many sessions that were."""
        found = [one.id for one in self.sessions(user)]
        self._end(found)
        return len(found)

    def _read(self, wanted: list[tuple[str, str]]) -> list[Session]:
        """Those of the ids, each with its user's name, that still hold."""
        pipe = self._client.pipeline(transaction=False)
        for session_id, user in wanted:
            pipe.hgetall(self._store.key("session:", session_id))
            pipe.hget(self._store.key("user:", user), "version")
        answers = self._store.guard(pipe.execute) if wanted else []
        rows = zip(wanted, answers[::2], answers[1::2], strict=True)
        return [
            _session(session_id, row)
            for (session_id, user), row, version in rows
            if row and row[b"user"].decode() == user and row[b"version"] == (version or b"")
        ]

    def _end(self, ids: list[str]) -> None:
        if not ids:
            return
        pipe = self._client.pipeline(transaction=True)
        pipe.delete(*(self._store.key("session:", one) for one in ids))
        pipe.zrem(self._store.key("sessions"), *ids)
        self._store.guard(pipe.execute)


def _session(session_id: str, row: dict[bytes, bytes]) -> Session:
    user, role, address, agent = (
        row[name].decode(errors="replace") for name in (b"user", b"role", b"address", b"agent")
    )
    return Session(session_id, user, role, int(row[b"created"]) / 1000, int(row[b"expires"]) / 1000, address, agent)
