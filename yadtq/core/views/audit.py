"""The audit log: every change made through the web, the newest 10,000."""

from __future__ import annotations

import re

from yadtq.core.views.base import Reads
from yadtq.core.views.models import AuditEntry, AuditPage
from yadtq.core.yadtq_result_db import ResultStore

KEPT = 10_000
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

    def audit(self, cursor: str | None = None, limit: int = 50) -> AuditPage:
        """One page, newest first; ``cursor`` is one that an earlier page gave, a broken one starts at the newest."""
        newest = f"({cursor}" if cursor and _ID.fullmatch(cursor) else "+"
        rows = self._store.guard(
            lambda: self._store.client.xrevrange(self._store.key("actions"), newest, "-", count=limit + 1)
        )
        items = [_entry(raw.decode(), fields) for raw, fields in rows[:limit]]
        return AuditPage(items, items[-1].id if len(rows) > limit else None)


def _entry(entry_id: str, fields: dict[bytes, bytes]) -> AuditEntry:
    texts = {name: fields.get(name.encode(), b"").decode(errors="replace") for name in _NAMES}
    return AuditEntry(entry_id, int(entry_id.partition("-")[0]) / 1000, **texts)
