"""Lists and searches of tasks: one walk through the index that fits, within limits, whatever the history holds."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence

from yadtq.core.views.models import Count, TaskPage
from yadtq.core.views.paging import Entry, Met, Walk, read_cursor, write_cursor
from yadtq.core.views.tasks import TaskReads
from yadtq.core.yadtq_query import Query
from yadtq.core.yadtq_task import TaskResult, TaskStatus

MOST_ROWS = 2_000  # looked at in one call
MOST_SECONDS = 0.03
NARROW_ROWS = 10_000  # names, queues and workers cost far less: so many are looked at, and more within that time
# Rows a round trip: few where many match, and never long for Redis' other callers.
FIRST_STRETCH, LONGEST_STRETCH = 100, 1_000
LATELY = 500
MOST_KNOWN = 500  # kinds of rows that are not told again
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

        A call looks at 2,000 rows or for 30 ms; where names, states, queues, workers and reasons are all that matters,
        at 10,000 and as many more as 30 ms allow. When that ends it, ``complete`` is False and ``next`` searches further.
        """
        mark = self.change_mark()
        backwards, place = read_cursor(cursor)
        known = self._by_id(query) if place is None else []
        if known:
            return TaskPage(known, None, None, mark.epoch, mark.seq, scanned=1)
        found, walk = self._scan(query, place, limit + 1, descending=oldest_first == backwards)
        full = len(found) > limit
        entries = [met.entry for met in found[:limit]]
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
            scanned=walk.looked_at,
            complete=full or walk.exhausted,
        )

    def count(self, query: Query, *, cursor: str | None = None) -> Count:
        """How many match, within the limits of :meth:`search`; the counts of the calls with ``next`` add up."""
        pipe = self._store.client.pipeline(transaction=False)
        for index in self._indexes(query):
            pipe.zcount(self._store.key("", index), *_bounds(query))
        total = sum(self._store.guard(pipe.execute))
        if cursor is None and self._by_id(query):
            return Count(1, 1, 1, None)
        if query.plain:
            return Count(total, 0, total, None)
        found, walk = self._scan(query, read_cursor(cursor)[1], math.inf, descending=True)
        return Count(len(found), walk.looked_at, total, None if walk.exhausted else _cursor("<", walk.place))

    def matching(self, query: Query, cursor: str | None, limit: int) -> tuple[list[str], str | None, int]:
        """Up to ``limit`` ids, newest first, with the cursor to go on from (None at the end) and how many rows were looked at."""
        known = self._by_id(query) if cursor is None else []
        if known:
            return [task.id for task in known], None, 1
        found, walk = self._scan(query, read_cursor(cursor)[1], limit, descending=True)
        ids = [met.entry.id for met in found]
        if len(found) == limit:
            return ids, _cursor("<", found[-1].entry), found[-1].number
        return ids, None if walk.exhausted else _cursor("<", walk.place), walk.looked_at

    def came_of(self, job_id: str) -> dict[TaskStatus, int]:
        """The tasks that a bulk retry queued, as far as they are noted, by the state they are in now."""
        walk = Walk(self._store, self._indexes(Query(job=job_id)), fields=("status", "deleted"))
        found: Counter[TaskStatus] = Counter()
        while not walk.exhausted:
            rows = [met.values for met in walk.next(LONGEST_STRETCH)]
            found.update(TaskStatus(status.decode()) for status, deleted in rows if status and not deleted)
        return {status: found[status] for status in TaskStatus if found[status]}

    def names_lately(self) -> set[str]:
        """What the newest 500 tasks are called."""
        met = Walk(self._store, ["index:all"], fields=["name"]).next(LATELY)
        return {name.decode(errors="replace") for (name,) in (one.values for one in met) if name}

    def _by_id(self, query: Query) -> list[TaskResult]:
        """The task whose id was typed, whatever its age."""
        if not query.id or query.group or query.job:
            return []
        key, fields = self._store.key("t:", query.id), fields_of(query)
        row = row_of(query.id, fields, self._store.guard(lambda: self._store.client.hmget(key, fields)))
        if row is None or not query.matches(row):
            return []
        return list(self.tasks_by_id([query.id]).values())

    def _indexes(self, query: Query) -> list[str]:
        if query.group:
            return [f"group:{query.group}"]
        if query.job:
            return [f"jobtasks:{query.job}"]
        return [f"index:{status}" for status in query.statuses or ("all",)]

    def _scan(self, query: Query, place: Entry | None, limit: float, *, descending: bool) -> tuple[list[Met], Walk]:
        """Up to ``limit`` entries that match, and the walk to them."""
        fields = fields_of(query)
        walk = Walk(
            self._store,
            self._indexes(query),
            after=place,
            descending=descending,
            low=None if query.after is None else round(query.after * 1e6),
            high=None if query.before is None else round(query.before * 1e6),
            fields=fields,
        )
        narrow, deadline = query.narrow, time.monotonic() + MOST_SECONDS
        most = NARROW_ROWS if narrow else MOST_ROWS
        found: list[Met] = []
        known: set[bytes] = set()  # what rows that do not match say, where many say the same
        size = int(min(limit, LONGEST_STRETCH)) if query.plain else FIRST_STRETCH
        while len(found) < limit and not walk.exhausted:
            for met in walk.next(size if narrow else min(size, most - walk.looked_at), known):
                row = row_of(met.entry.id, fields, met.values)
                if row is not None and query.matches(row):
                    found.append(met)
                    if len(found) == limit:
                        return found, walk
                elif narrow and len(known) < MOST_KNOWN:
                    known.add(b"\0".join(met.values))
            size = min(2 * size, LONGEST_STRETCH)
            late, enough = time.monotonic() > deadline, walk.looked_at >= most
            if (late and enough) if narrow else (late or enough):
                break
        return found, walk


def fields_of(query: Query) -> list[str]:
    """What has to be read of each row."""
    wanted = {term.field for term in query.terms}
    if "" in wanted:
        return [*_FIELDS]
    if "args" in wanted:
        wanted.add("preview")
    wanted |= {"status", "deleted"} if query.job else {"status"}  # the other indexes hold no deleted ones
    return [field for field in _FIELDS if field in wanted]


def row_of(task_id: str, fields: Sequence[str], values: Sequence[bytes | None]) -> dict[str, str] | None:
    """A row as a search looks at it; None for a task that is gone."""
    row = {name: value.decode(errors="replace") for name, value in zip(fields, values, strict=True) if value}
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
