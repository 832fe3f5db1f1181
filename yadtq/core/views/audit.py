"""The audit log: every change made through the web, the newest 10,000."""

from __future__ import annotations

import re

from yadtq.core.views.base import Reads
from yadtq.core.views.models import AuditEntry, AuditPage
from yadtq.core.yadtq_result_db import ResultStore

KEPT = 10_000
STRETCH = 1_000  # entries read at once where only some are wanted
_ID = re.compile(r"\d{1,19}-\d{1,19}")
_NAMES = ("user", "role", "action", "target", "detail", "address")


def record_action(
    store: ResultStore, *, user: str, role: str, action: str, target: str, detail: str = "", address: str = ""
) -> None:
    """Add one entry; long texts are cut at 500 characters. Raises ResultStoreUnavailable."""
    values = (user, role, action, target, detail, address)
    entry = {name: value[:500] for name, value in zip(_NAMES, values, strict=True)}
    store.guard(lambda: store.client.xadd(store.key("actions"), entry, maxlen=KEPT, approximate=False))


class AuditReads(Reads):
    """The audit log."""

    def audit(
        self, cursor: str | None = None, limit: int = 50, *, user: str = "", action: str = "", target: str = ""
    ) -> AuditPage:
        """One page, newest first; ``cursor`` is one that an earlier page gave, a broken one starts at the newest.

        Args:
            user: only what this person or token did.
            action, target: only entries with this text there, in upper or lower case; the target or the detail.
        """

        def wanted(entry: AuditEntry) -> bool:
            to = f"{entry.target}\n{entry.detail}".lower()
            return user in ("", entry.user) and action.lower() in entry.action and target.lower() in to

        size = STRETCH if user or action or target else limit + 1
        found: list[AuditEntry] = []
        place: str | None = cursor if cursor and _ID.fullmatch(cursor) else ""
        while place is not None and len(found) <= limit:
            rows = self._entries(place, size)
            found += filter(wanted, rows)
            place = rows[-1].id if len(rows) == size else None
        return AuditPage(found[:limit], found[limit - 1].id if len(found) > limit else None)

    def _entries(self, place: str, count: int) -> list[AuditEntry]:
        """So many entries older than this one; from the newest on where there is none."""
        newest, key = f"({place}" if place else "+", self._store.key("actions")
        rows = self._store.guard(lambda: self._store.client.xrevrange(key, newest, "-", count=count))
        return [_entry(raw.decode(), fields) for raw, fields in rows]


def _entry(entry_id: str, fields: dict[bytes, bytes]) -> AuditEntry:
    texts = {name: fields.get(name.encode(), b"").decode(errors="replace") for name in _NAMES}
    return AuditEntry(entry_id, int(entry_id.partition("-")[0]) / 1000, **texts)
