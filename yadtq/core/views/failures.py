"""Failed tasks by what went wrong: those of one name whose errors differ only in details form a group."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from yadtq.core.views.models import FailureGroup, GroupPage, TaskPage
from yadtq.core.views.paging import Entry, Walk, read_cursor, write_cursor
from yadtq.core.views.search import SearchReads, fields_of, row_of
from yadtq.core.yadtq_query import Query

SAMPLES = 3
HOURS = 24
HOUR = 3_600_000_000  # µs
NEWEST = 100
MOST_GROUPS = 2_000  # looked at in one call
MOST_SECONDS = 0.02  # less than for tasks: a page of groups costs more to read
LONGEST_STRETCH = 100  # groups a round trip

GroupOrder = Literal["newest", "oldest", "most"]
GROUP_ORDERS: dict[GroupOrder, tuple[str, bool]] = {  # the index, and whether it is walked downwards
    "newest": ("groups", True),
    "oldest": ("groups", False),
    "most": ("sizes", True),
}


class FailureReads(SearchReads):
    """Groups of failures."""

    def failure_groups(self, limit: int = 20) -> list[FailureGroup]:
        """The groups with the newest failures, newest first; a group's size does not matter for the cost."""
        return self.failure_page(limit=limit).items

    def failure_page(
        self, cursor: str | None = None, limit: int = 20, *, order: GroupOrder = "newest", query: Query | None = None
    ) -> GroupPage:
        """One page of them; ``cursor`` is one that an earlier page of this order gave, a broken one starts at the first.

        Newest and oldest go by a group's newest failure, and a query is held against that task. A call looks at 2,000
        groups or for 20 ms; when that ends it, ``complete`` is False and ``next`` searches further.
        """
        index, descending = GROUP_ORDERS[order]
        walk = Walk(self._store, [index], after=read_cursor(cursor)[1], descending=descending)
        found = self._matching_groups(walk, query or Query(), limit + 1)
        full = len(found) > limit
        end = found[limit - 1] if full else None if walk.exhausted else walk.place
        return GroupPage(
            items=self._groups([entry.id for entry in found[:limit]]),
            next=write_cursor("<", end) if end else None,
            total=int(self._store.guard(lambda: self._store.client.zcard(self._store.key("groups")))),
            scanned=walk.looked_at,
            complete=full or walk.exhausted,
        )

    def _matching_groups(self, walk: Walk, query: Query, limit: int) -> list[Entry]:
        """Up to ``limit`` groups whose newest task matches."""
        found: list[Entry] = []
        size, deadline = limit, time.monotonic() + MOST_SECONDS
        while not walk.exhausted and walk.looked_at < MOST_GROUPS and time.monotonic() < deadline:
            groups = [met.entry for met in walk.next(min(size, MOST_GROUPS - walk.looked_at))]
            for entry, row in zip(groups, self._newest_of(groups, query), strict=True):
                if row is not None and query.matches(row):
                    found.append(entry)
                    if len(found) == limit:
                        return found
            size = min(2 * size, LONGEST_STRETCH)
        return found

    def _newest_of(self, groups: Sequence[Entry], query: Query) -> list[dict[str, str] | None]:
        """The row of each group's newest task; None where the query asks for another group or time."""
        client, key, fields = self._store.client, self._store.key, fields_of(query)
        pipe = client.pipeline(transaction=False)
        for entry in groups:
            pipe.zrevrange(key("group:", entry.id), 0, 0, withscores=True)
        newest = [pairs[0] if pairs else (b"", 0.0) for pairs in self._store.guard(pipe.execute)]
        pipe = client.pipeline(transaction=False)
        for raw, _ in newest:
            pipe.hmget(key("t:", raw.decode()), fields)
        rows = self._store.guard(pipe.execute)
        low, high = (query.after or 0) * 1e6, (query.before or float("inf")) * 1e6

        def asked_for(group: Entry, at: float) -> bool:
            return low <= at <= high and query.group in ("", group.id) and not query.job  # which is in no row

        return [
            row_of(raw.decode(), fields, values) if asked_for(entry, at) else None
            for entry, (raw, at), values in zip(groups, newest, rows, strict=True)
        ]

    def worst_failures(self, limit: int = 2) -> list[FailureGroup]:
        """The groups that most tasks entered in the last hour and have not left, of the 100 that failed last."""
        client, key, since = self._store.client, self._store.key, self._store.time_ms() * 1000 - HOUR
        recent = self._store.guard(
            lambda: client.zrange(key("groups"), "+inf", since, desc=True, byscore=True, offset=0, num=NEWEST)
        )
        pipe = client.pipeline(transaction=False)
        for raw in recent:
            pipe.zcount(key("group:", raw.decode()), since, "+inf")
        sizes = self._store.guard(pipe.execute) if recent else []
        largest = sorted(zip(sizes, recent, strict=True), key=lambda entry: -entry[0])  # of equals the newest
        return self._groups([raw.decode() for _, raw in largest[:limit]])

    def failure_group(self, fingerprint: str) -> FailureGroup | None:
        """One group, or None."""
        return next(iter(self._groups([fingerprint])), None)

    def _groups(self, prints: list[str]) -> list[FailureGroup]:
        client, key = self._store.client, self._store.key
        now = self._store.time_ms() * 1000
        pipe = client.pipeline(transaction=False)
        for fp in prints:
            group = key("group:", fp)
            pipe.zcard(group)
            pipe.zrange(group, 0, 0, withscores=True)
            pipe.zrevrange(group, 0, SAMPLES - 1, withscores=True)
            for hour in range(HOURS, 0, -1):
                pipe.zcount(group, now - hour * HOUR, "+inf" if hour == 1 else f"({now - (hour - 1) * HOUR}")
        answers = self._store.guard(pipe.execute) if prints else []
        each = [answers[i : i + 3 + HOURS] for i in range(0, len(answers), 3 + HOURS)]
        samples = {fp: [raw.decode() for raw, _ in row[2]] for fp, row in zip(prints, each, strict=True)}
        rows = self.tasks_by_id(task_id for ids in samples.values() for task_id in ids)
        groups = []
        for fp, (count, oldest, newest, *hours) in zip(prints, each, strict=True):
            shown = next((rows[task_id] for task_id in samples[fp] if task_id in rows), None)
            if shown is not None:
                first_at, last_at = oldest[0][1] / 1e6, newest[0][1] / 1e6
                error, reason = shown.error or "", shown.reason or ""
                groups.append(FailureGroup(fp, shown.name, error, reason, count, first_at, last_at, samples[fp], hours))
        return groups

    def failed_of(self, fingerprint: str, *, cursor: str | None = None, limit: int = 50) -> TaskPage:
        """One page of a group's tasks, newest failure first."""
        return self.search(Query(group=fingerprint), cursor=cursor, limit=limit)
