"""What the web keeps in Redis: users, sessions, one-time sign-in links, API tokens, throttles.

Secrets that give access are kept hashed, so that reading Redis does not let anybody in.
"""

from __future__ import annotations

import secrets

from yadtq.core.accounts.base import ROLES, SHORTEST_PASSWORD, check_password, check_role, hashed
from yadtq.core.accounts.sessions import Session, Sessions
from yadtq.core.accounts.tokens import LONGEST_DAYS, ApiToken, Tokens, validity
from yadtq.core.accounts.users import User, Users

__all__ = [
    "LONGEST_DAYS",
    "ROLES",
    "SHORTEST_PASSWORD",
    "Accounts",
    "ApiToken",
    "Session",
    "User",
    "check_password",
    "check_role",
    "validity",
]

# Not below zero, nor in a window that is over, whose key would then never go.
_GIVE_BACK = """
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or 0) > 0 then redis.call('DECR', key) end
end
"""


class Accounts(Users, Sessions, Tokens):
    """Accounts of one store; each call raises ResultStoreUnavailable."""

    def allow_attempt(self, bucket: str, limit: int, window: float) -> bool:
        """Whether one more attempt is allowed in the present window (seconds); counts it."""
        key = self._store.key("throttle:", hashed(bucket))
        pipe = self._client.pipeline(transaction=True)
        pipe.set(key, 0, ex=max(1, int(window)), nx=True)
        pipe.incr(key)
        return int(self._store.guard(pipe.execute)[1]) <= limit

    def give_back_attempt(self, *buckets: str) -> None:
        """Count one attempt less in the present windows: it was none to guard against."""
        keys = [self._store.key("throttle:", hashed(bucket)) for bucket in buckets]
        self._store.guard(lambda: self._client.eval(_GIVE_BACK, len(keys), *keys))

    def web_secret(self) -> str:
        """The cookie key shared by all web processes where none is set; made at the first call."""
        key = self._store.key("web_secret")
        found = self._store.guard(lambda: self._client.get(key))
        if found is None:
            self._store.guard(lambda: self._client.set(key, secrets.token_urlsafe(48), nx=True))
            found = self._store.guard(lambda: self._client.get(key))
        return str(found.decode())
