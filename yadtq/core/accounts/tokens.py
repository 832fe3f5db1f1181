"""API tokens: each has a name and a role, is shown once, and can be revoked."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from yadtq.core.accounts.base import AccountPart, check_role, hashed
from yadtq.core.yadtq_task import check_name
from yadtq.errors import ConfigError


@dataclass(frozen=True)
class ApiToken:
    """What is known of a token; not the token."""

    name: str
    role: str
    by: str  # who made it
    created_at: float


class Tokens(AccountPart):
    """Tokens of the JSON API; Redis keeps only their hashes."""

    def create_api_token(self, name: str, role: str, by: str = "") -> str:
        """A new token, told this once. Raises InvalidName, ConfigError (the name is taken)."""
        token = f"yadtq_{secrets.token_urlsafe(32)}"
        row = {"name": check_name("token", name), "role": check_role(role), "by": by, "created": self._store.time_ms()}
        key, index = self._store.key("token:", hashed(token)), self._store.key("tokens")
        # The row first: were it the name, a crash in between would leave a name that nobody can take.
        self._store.guard(lambda: self._client.hset(key, mapping=row))
        if not self._store.guard(lambda: self._client.hsetnx(index, name, hashed(token))):
            self._store.guard(lambda: self._client.delete(key))
            raise ConfigError(f"there is a token named {name} already; revoke it first, or choose another name")
        return token

    def api_token(self, token: str) -> ApiToken | None:
        """What this token stands for; None when it was revoked or never made."""
        return _token(self._store.guard(lambda: self._client.hgetall(self._store.key("token:", hashed(token)))))

    def api_tokens(self) -> list[ApiToken]:
        """All tokens by name."""
        index = self._store.guard(lambda: self._client.hgetall(self._store.key("tokens")))
        pipe = self._client.pipeline(transaction=False)
        for digest in index.values():
            pipe.hgetall(self._store.key("token:", digest.decode()))
        found = map(_token, self._store.guard(pipe.execute) if index else [])
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


def _token(row: dict[bytes, bytes]) -> ApiToken | None:
    if not row:
        return None
    name, role, by = (row[field].decode() for field in (b"name", b"role", b"by"))
    return ApiToken(name, role, by, int(row[b"created"]) / 1000)
