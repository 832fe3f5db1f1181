"""Walking indexes by keyset: the place in a list is a score and an id, so that pages stay put while rows move."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from yadtq.core.yadtq_result_db import ResultStore


class Entry(NamedTuple):
    """One member of an index."""

    score: int  # µs
    id: str


class Met(NamedTuple):
    """An entry met on a walk."""

    entry: Entry
    number: int  # of all that the walk has looked at, from 1 on
    values: list[bytes]  # of the fields that were asked for


class Walk:
    """The entries of one index, or of several joined by score, in one direction from a place on.

    Each stretch is one call of `lua/walk.lua`. ``fields`` are those of the tasks' rows that come along.
    """

    def __init__(
        self,
        store: ResultStore,
        indexes: Sequence[str],
        *,
        after: Entry | None = None,
        descending: bool = True,
        low: int | None = None,
        high: int | None = None,
        fields: Sequence[str] = (),
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._descending = descending
        self._bounds = ("-inf" if low is None else low, "+inf" if high is None else high)
        self._fields = fields
        self.place = after
        self.looked_at = 0
        self.exhausted = False

    def next(self, count: int, known: Iterable[bytes] = ()) -> list[Met]:
        """The next ``count`` entries but those whose values, joined by zero bytes, are known; ``exhausted`` at the end."""
        reply = self._store.walk(
            self._indexes, self.place or ("", ""), self._bounds, count, self._fields, known, down=self._descending
        )
        looked_at, over, score, task_id, *flat = reply.items
        met = [
            Met(Entry(flat[i + 1], flat[i + 2].decode()), self.looked_at + flat[i], flat[i + 3])
            for i in range(0, len(flat), 4)
        ]
        if looked_at:
            self.place = Entry(score, task_id.decode())
        self.looked_at += looked_at
        self.exhausted = bool(over)
        return met


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
