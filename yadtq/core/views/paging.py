"""Walking indexes by keyset: the place in a list is a score and an id, so that pages stay put while rows move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from yadtq.core.yadtq_result_db import ResultStore


class Entry(NamedTuple):
    """One member of an index."""

    score: int  # µs
    id: str


class Walk:
    """The entries of one index, or of several joined by score, in one direction from a place on."""

    def __init__(
        self,
        store: ResultStore,
        keys: Sequence[str],
        *,
        after: Entry | None = None,
        descending: bool = True,
        low: int | None = None,
        high: int | None = None,
    ) -> None:
        self._store = store
        self._keys = keys
        self._descending = descending
        self._low: int | str = "-inf" if low is None else low
        self._high: int | str = "+inf" if high is None else high
        self.place = after
        self.exhausted = False

    def next(self, count: int) -> list[Entry]:
        """Up to ``count`` further entries; fewer, and ``exhausted``, at the end."""
        found = sorted((entry for key in self._keys for entry in self._next_of(key, count)), reverse=self._descending)
        self.exhausted = len(found) <= count
        found = found[:count]
        if found:
            self.place = found[-1]
        return found

    def _next_of(self, key: str, count: int) -> list[Entry]:
        """One more than ``count``, which tells whether there are more."""
        found: list[Entry] = []
        offset = 0
        while len(found) <= count:
            rows = self._read(key, offset, count + 1)
            entries = (Entry(int(score), raw.decode()) for raw, score in rows)
            found += [entry for entry in entries if not self._passed(entry)]
            offset += len(rows)
            if len(rows) <= count:
                break
        return found[: count + 1]

    def _passed(self, entry: Entry) -> bool:
        """Entries with the place's own score may have been met: they are told apart by id."""
        if self.place is None:
            return False
        return entry >= self.place if self._descending else entry <= self.place

    def _read(self, key: str, offset: int, count: int) -> list[tuple[bytes, float]]:
        low, high = self._low, self._high
        if self.place is not None:
            low, high = (low, self.place.score) if self._descending else (self.place.score, high)
        first, last = (high, low) if self._descending else (low, high)
        return list(
            self._store.guard(
                lambda: self._store.client.zrange(
                    key, first, last, desc=self._descending, byscore=True, offset=offset, num=count, withscores=True
                )
            )
        )


def write_cursor(direction: str, entry: Entry) -> str:
    """``<`` (after) or ``>`` (before, in the list's order) with a score and an id."""
    return f"{direction}{entry.score}:{entry.id}"


def read_cursor(cursor: str | None) -> tuple[bool, Entry | None]:
    """Whether it leads backwards, and its place; a broken one starts at the first page."""
    if not cursor or cursor[0] not in "<>":
        return False, None
    score, _, task_id = cursor[1:].partition(":")
    if not (score.isascii() and score.isdigit() and len(score) < 20 and task_id):
        return False, None
    return cursor[0] == ">", Entry(int(score), task_id)
