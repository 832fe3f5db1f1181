"""One outcome a task, also where Redis went back or was emptied in between; a second one only where the documents allow it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from yadtq.core.yadtq_lease import REMEMBER

Rows = Mapping[str, Mapping[str, str]]


class Outcome(NamedTuple):
    """``at`` is by the workers' clock, when this Redis was first seen to have it."""

    status: str
    token: str  # "" where no run gave it
    gen: int
    at: float

    @property
    def inc(self) -> str:
        return self.token.rpartition(":")[0]

    def is_again(self, other: Outcome) -> bool:
        return (self.status, self.token) == (other.status, other.token)


class Outcomes:
    """The accepted outcome of each task, whatever Redis still knows of it."""

    def __init__(self, living: Callable[[], Collection[str]]) -> None:
        self._living = living  # the incarnations that can still tell what they did
        self._accepted: dict[str, Outcome] = {}
        self._forgotten: set[str] = set()  # tasks of whose outcome Redis knows nothing any more
        self._unclaimed: set[str] = set()  # of these, those of which it does not know either that the run began
        self._moved: set[str] = set()  # of the unclaimed ones, those that another worker has claimed since
        self._too_old: set[str] = set()  # of these, those that their workers had ceased to remember
        self._by_hand: set[str] = set()  # a person has retried them

    def redis_went_back(self, rows: Rows) -> None:
        for task_id, outcome in self._accepted.items():
            row = rows.get(task_id, {})
            if row.get("status") == outcome.status and row.get("token", "") == outcome.token:
                continue
            self._forgotten.add(task_id)
            self._unclaimed.discard(task_id)
            self._moved.discard(task_id)
            if row.get("token", "") != outcome.token:
                self._unclaimed.add(task_id)

    def redis_was_emptied(self) -> None:
        """Long before it was, an outcome had to be settled: its record is read again only where that was not committed."""
        since = time.monotonic() - REMEMBER
        self._too_old |= {task_id for task_id, outcome in self._accepted.items() if outcome.at < since}
        self.redis_went_back({})

    def was_claimed(self, task_id: str, inc: str) -> None:
        """A run of the task was granted to this incarnation."""
        if task_id in self._unclaimed and inc != self._accepted[task_id].inc:
            self._moved.add(task_id)

    def rows_time_is_over(self, task_id: str) -> None:
        """What comes next of it is a new beginning, unless it was Redis that lost the row."""
        if task_id not in self._forgotten:
            self._drop(task_id)

    def _drop(self, task_id: str) -> None:
        self._accepted.pop(task_id, None)
        self._remembered(task_id)

    def _remembered(self, task_id: str) -> None:
        for some in (self._forgotten, self._unclaimed, self._moved, self._too_old):
            some.discard(task_id)

    def check(self, rows: Rows, dead: Collection[str], retried: Collection[str]) -> None:
        self._by_hand |= set(retried)
        for task_id, row in rows.items():
            if row["status"] in ("cancelled", "expired"):
                self._drop(task_id)  # a person, or its time, was faster than who knew the outcome
            elif row["status"] in ("success", "failed"):
                found = Outcome(row["status"], row.get("token", ""), int(row["gen"]), time.monotonic())
                self._look_at(task_id, found, dead)

    def _look_at(self, task_id: str, found: Outcome, dead: Collection[str]) -> None:
        first = self._accepted.get(task_id)
        if first is not None and found.is_again(first) and task_id not in self._forgotten:
            return
        if first is not None and not found.is_again(first):
            if found.gen < first.gen:
                return  # an earlier end, which a person's retry had overtaken
            retried = first.status == "failed" and task_id in self._by_hand
            assert retried or self._is_allowed(task_id, first, dead), (
                f"{task_id} has two accepted outcomes: {first} and {found}"
            )
        self._accepted[task_id] = found
        self._remembered(task_id)

    def _is_allowed(self, task_id: str, first: Outcome, dead: Collection[str]) -> bool:
        """What docs/guarantees.md does not promise, where Redis has forgotten the first."""
        if task_id not in self._forgotten:
            return False
        its_worker_died = first.inc not in self._living() or first.inc in dead
        # So it had moved: Kafka puts a task's records into one partition, by their key.
        # Who claimed it there may have died of it or given it back, to the first worker too.
        return its_worker_died or task_id in self._moved or task_id in self._too_old
