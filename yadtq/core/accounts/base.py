"""What the parts of the accounts share: the store, and the hash that stands for a secret."""

from __future__ import annotations

import hashlib

from yadtq.core.yadtq_result_db import ResultStore
from yadtq.errors import ConfigError

ROLES = ("viewer", "operator", "admin")  # each may do what the ones before it may


SHORTEST_PASSWORD = 8


class AccountPart:
    """A part of the accounts of one store; each call raises ResultStoreUnavailable."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._client = store.client


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
