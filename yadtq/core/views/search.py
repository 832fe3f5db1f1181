"""Lists and searches of tasks: one walk through the index that fits, within limits, whatever the history holds."""

from __future__ import annotations

import time
from collections.abc import Sequence

from yadtq.core.views.models import Count, TaskPage
from yadtq.core.views.paging import Entry, Walk, read_cursor, write_cursor
from yadtq.core.views.tasks import TaskReads
from yadtq.core.yadtq_query import Query
from yadtq.core.yadtq_task import TaskResult, TaskStatus

MOST_ROWS = 2_000  # looked at in one call
MOST_SECONDS = 0.03
CHUNK = 200  # rows a round trip
_FIELDS = ("status", "name", "queue", "worker", "args", "preview", "error", "reason", "deleted")


class SearchReads(TaskReads):
    """Lists of tasks."""

    def tasks(
        self,
        status: TaskStatus | None = None,
        *,
        cursor: str | None = None,
        limit: int = 50,
        oldest_first: bool = False,
    ) -> TaskPage:
        """One page: of a status by when the tasks entered it, of all by when they were submitted; newest first.

        ``cursor`` is one that an earlier page gave.
        """
        query = Query() if status is None else Query(statuses=(status.value,))
        return self.search(query, cursor=cursor, limit=limit, oldest_first=oldest_first)

    def search(
        self, query: Query, *, cursor: str | None = None, limit: int = 50, oldest_first: bool = False
    ) -> TaskPage:
        """One page of the tasks that match, in the order of :meth:`tasks`.

        A call looks at 2,000 rows or for 30 ms; when that ends it, ``complete`` is False and ``next`` searches further.
        """
        mark = self.change_mark()
        backwards, place = read_cursor(cursor)
        known = self._by_id(query) if place is None else []
        if known:
            return TaskPage(known, None, None, mark.epoch, mark.seq, scanned=1)
        walk = self._walk(query, place, descending=oldest_first == backwards)
        found, scanned = self._scan(walk, query, limit + 1)
        full = len(found) > limit
        entries = found[:limit]
        # Where the page is full the next one begins behind its last row, else behind the last row looked at.
        end = entries[-1] if full else None if walk.exhausted else walk.place
        start = (entries[0] if entries else place) if place is not None else None
        if backwards:
            entries.reverse()
        rows = self.tasks_by_id(entry.id for entry in entries)
        return TaskPage(
            items=[rows[entry.id] for entry in entries if entry.id in rows],
            next=_cursor("<", start if backwards else end),
            previous=_cursor(">", end if backwards else start),
            epoch=mark.epoch,
            seq=mark.seq,
            scanned=scanned,
            complete=full or walk.exhausted,
        )

    def count(self, query: Query, *, cursor: str | None = None) -> Count:
        """How many match, within the limits of :meth:`search`; the counts of the calls with ``next`` add up."""
        pipe = self._store.client.pipeline(transaction=False)
        for key in self._keys(query):
            pipe.zcount(key, *_bounds(query))
        total = sum(self._store.guard(pipe.execute))
        if cursor is None and self._by_id(query):
            return Count(1, 1, 1, None)
        if query.plain:
            return Count(total, 0, total, None)
        walk = self._walk(query, read_cursor(cursor)[1], descending=True)
        found, scanned = self._scan(walk, query, MOST_ROWS + CHUNK)
        return Count(len(found), scanned, total, None if walk.exhausted else _cursor("<", walk.place))

    def matching(self, query: Query, cursor: str | None, limit: int) -> tuple[list[str], str | None, int]:
        """Up to ``limit`` ids, newest first, with the cursor to go on from (None at the end) and how many rows were looked at."""
        known = self._by_id(query) if cursor is None else []
        if known:
            return [task.id for task in known], None, 1
        walk = self._walk(query, read_cursor(cursor)[1], descending=True)
        found, scanned = self._scan(walk, query, limit)
        place = found[-1] if len(found) >= limit else None if walk.exhausted else walk.place
        return [entry.id for entry in found], _cursor("<", place), scanned

    def _by_id(self, query: Query) -> list[TaskResult]:
        """The task whose id was typed, whatever its age."""
        if not query.id or query.group:
            return []
        (row,) = self._rows([Entry(0, query.id)])
        if row is None or not query.matches(row):
            return []
        return list(self.tasks_by_id([query.id]).values())

    def _keys(self, query: Query) -> list[str]:
        if query.group:
            return [self._store.key("group:", query.group)]
        return [self._store.key("index:", status) for status in query.statuses or ("all",)]

    def _walk(self, query: Query, place: Entry | None, *, descending: bool) -> Walk:
        low, high = query.after, query.before
        return Walk(
            self._store,
            self._keys(query),
            after=place,
            descending=descending,
            low=None if low is None else round(low * 1e6),
            high=None if high is None else round(high * 1e6),
        )

    def _scan(self, walk: Walk, query: Query, limit: int) -> tuple[list[Entry], int]:
        """Up to ``limit`` entries that match, and how many were looked at."""
        found: list[Entry] = []
        scanned, deadline = 0, time.monotonic() + MOST_SECONDS
        while len(found) < limit and not walk.exhausted:
            chunk = walk.next(min(CHUNK, limit - len(found)) if query.plain else CHUNK)
            for entry, row in zip(chunk, self._rows(chunk), strict=True):
                scanned += 1
                if row is not None and query.matches(row):
                    found.append(entry)
                    if len(found) == limit:
                        return found, scanned
            if scanned >= MOST_ROWS or time.monotonic() > deadline:
                break
        return found, scanned

    def _rows(self, entries: Sequence[Entry]) -> list[dict[str, str] | None]:
        """What a search looks at, of each; None for a task that is gone."""
        pipe = self._store.client.pipeline(transaction=False)
        for entry in entries:
            pipe.hmget(self._store.key("t:", entry.id), _FIELDS)
        rows = self._store.guard(pipe.execute) if entries else []
        return [_row(entry.id, values) for entry, values in zip(entries, rows, strict=True)]


def _row(task_id: str, values: Sequence[bytes | None]) -> dict[str, str] | None:
    row = {name: value.decode(errors="replace") for name, value in zip(_FIELDS, values, strict=True) if value}
    if "status" not in row or "deleted" in row:
        return None
    row["id"] = task_id
    row.setdefault("args", row.get("preview", ""))
    return row


def _bounds(query: Query) -> tuple[str, str]:
    low = "-inf" if query.after is None else str(round(query.after * 1e6))
    high = "+inf" if query.before is None else str(round(query.before * 1e6))
    return low, high


def _cursor(direction: str, entry: Entry | None) -> str | None:
    return None if entry is None else write_cursor(direction, entry)
