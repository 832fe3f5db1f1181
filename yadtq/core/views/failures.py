"""Failed tasks by what went wrong: those of one name whose errors differ only in details form a group."""

from __future__ import annotations

from yadtq.core.views.models import FailureGroup, GroupPage, TaskPage
from yadtq.core.views.paging import Walk, read_cursor, write_cursor
from yadtq.core.views.search import SearchReads
from yadtq.core.yadtq_query import Query

SAMPLES = 3
HOURS = 24
HOUR = 3_600_000_000  # µs
NEWEST = 100


class FailureReads(SearchReads):
    """Groups of failures."""

    def failure_groups(self, limit: int = 20) -> list[FailureGroup]:
        """The groups with the newest failures, newest first; a group's size does not matter for the cost."""
        return self.failure_page(limit=limit).items

    def failure_page(self, cursor: str | None = None, limit: int = 20) -> GroupPage:
        """One page of them; ``cursor`` is one that an earlier page gave, a broken one starts at the newest."""
        walk = Walk(self._store, ["groups"], after=read_cursor(cursor)[1])
        entries = [met.entry for met in walk.next(limit)]
        total = int(self._store.guard(lambda: self._store.client.zcard(self._store.key("groups"))))
        end = None if walk.exhausted or not entries else write_cursor("<", entries[-1])
        return GroupPage(self._groups([entry.id for entry in entries]), end, total)

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
