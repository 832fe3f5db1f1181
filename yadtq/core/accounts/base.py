"""What the parts of the accounts share: the store, and the hash that stands for a secret."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from yadtq.core.yadtq_result_db import ResultStore
from yadtq.errors import ConfigError

ROLES = ("viewer", "operator", "admin")  # each may do what the ones before it may


SHORTEST_PASSWORD = 8

# Between a look at a row and a write, somebody may change or delete it: KEYS row; ARGV field, its value as seen, what to write.
_WRITE_AS_SEEN = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 1
"""


class AccountPart:
    """A part of the accounts of one store; each call raises ResultStoreUnavailable."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._client = store.client

    def _write_as_seen(self, key: str, field: str, seen: str | bytes, values: Mapping[str, str | int]) -> bool:
        """Write into a row whose field still holds what was seen; whether it did."""
        pairs = [part for pair in values.items() for part in pair]
        return bool(self._store.guard(lambda: self._client.eval(_WRITE_AS_SEEN, 1, key, field, seen, *pairs)))


def hashed(secret: str) -> str:
    """What Redis keeps of a random secret; it cannot be guessed, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def check_password(password: str) -> str:
    """The password, if it is long enough; raises ConfigError."""
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigError(f"the password is too short; take at least {SHORTEST_PASSWORD} characters")
    return password


def check_role(role: str) -> str:
    """The role, if there is one of this name; raises ConfigError."""
    if role not in ROLES:
        raise ConfigError(f"role {role[:40]!r} is not one of {', '.join(ROLES)}")
    return role
