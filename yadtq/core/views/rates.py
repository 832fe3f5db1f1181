"""How many tasks ended, waited and ran how long, over time: from the sums that the moves keep by minute, quarter and hour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Literal

from yadtq.core.views.base import Reads
from yadtq.core.views.models import MinuteStats, Rate
from yadtq.core.yadtq_histogram import Histogram
from yadtq.core.yadtq_result_db import ResultStore

Span = Literal["1h", "24h", "7d"]
SPANS: dict[str, tuple[str, int, int]] = {  # the key, its seconds, how many points
    "1h": ("minute:", 60, 60),
    "24h": ("quarter:", 900, 96),
    "7d": ("hour:", 3600, 168),
}

_COUNTED = ("success", "failed", "cancelled", "expired", "retried")
_TALLIES = [entry.name for entry in fields(MinuteStats)[1:]]


class RateReads(Reads):
    """Figures over time."""

    def __init__(self, store: ResultStore) -> None:
        super().__init__(store)
        self._closed: dict[
            tuple[bytes, str], dict[int, Rate]
        ] = {}  # by data set and key: what does not change any more

    def rates(self, span: Span = "1h") -> list[Rate]:
        """60 minutes, 96 quarters of an hour or 168 hours by Redis' clock, oldest first; the last one is still running.

        What is over is read once and remembered.
        """
        key, seconds, points = SPANS[span]
        now = self._store.time_ms() // 1000
        last = now - now % seconds
        starts = range(last - seconds * (points - 1), last + 1, seconds)
        client = self._store.client
        epoch, counted = self._store.guard(
            lambda: client.mget(self._store.key("epoch"), self._store.key("open_minute"))
        )
        open_minute = int(counted or 0)
        known = self._closed.get((epoch, key), {})
        found = {start: known[start] for start in starts if start in known}
        found |= self._read(key, seconds, [start for start in starts if start not in found], open_minute)
        self._closed[epoch, key] = {start: rate for start, rate in found.items() if start + seconds <= open_minute}
        for old in [one for one in self._closed if one[0] != epoch]:
            self._closed.pop(old, None)
        return [found[start] for start in starts]

    def _read(self, key: str, seconds: int, starts: Sequence[int], open_minute: int) -> dict[int, Rate]:
        pipe = self._store.client.pipeline(transaction=False)
        for start in starts:
            pipe.hgetall(self._store.key(key, str(start)))
        pipe.hgetall(self._store.key("minute:", str(open_minute)))
        *rows, unfolded = self._store.guard(pipe.execute)
        of_open = open_minute - open_minute % seconds
        if seconds > 60 and of_open in starts:  # the open minute is not yet in its quarter and hour
            row = rows[starts.index(of_open)]
            rows[starts.index(of_open)] = {
                name: int(row.get(name, 0)) + int(unfolded.get(name, 0)) for name in {*row, *unfolded}
            }
        return {start: _rate(start, seconds, row) for start, row in zip(starts, rows, strict=True)}

    def lengths_since_start(self) -> tuple[Histogram, Histogram]:
        """How long all runs that have ended waited, and ran: sums that only grow while the data set lives."""
        pipe = self._store.client.pipeline(transaction=True)
        pipe.get(self._store.key("open_minute"))
        pipe.hgetall(self._store.key("ever"))
        opened, ever = self._store.guard(pipe.execute)
        # Should this minute be folded in between, it is whole below and not yet in what was read: still no step back.
        minute = self._store.guard(
            lambda: self._store.client.hgetall(self._store.key("minute:", str(int(opened or 0))))
        )
        both = [_rate(0, 0, row) for row in (ever, minute)]
        return Histogram.sum(one.waited for one in both), Histogram.sum(one.ran for one in both)

    def throughput(self, minutes: int = 60) -> list[MinuteStats]:
        """What ended in each of the last minutes, oldest first."""
        last = int(self._store.time_ms() / 60_000) * 60
        starts = range(last - 60 * (minutes - 1), last + 1, 60)
        pipe = self._store.client.pipeline(transaction=False)
        for start in starts:
            pipe.hmget(self._store.key("minute:", str(start)), *_TALLIES)
        rows = self._store.guard(pipe.execute)
        return [
            MinuteStats(start, *(int(value or 0) for value in row)) for start, row in zip(starts, rows, strict=True)
        ]


def _rate(start: int, seconds: int, row: Mapping[bytes, bytes | int]) -> Rate:
    counts: dict[str, int] = dict.fromkeys(_COUNTED, 0)
    waited: dict[int, int] = {}
    ran: dict[int, int] = {}
    for raw, count in row.items():
        name = raw.decode()
        if name[1:].isdigit():
            (waited if name[0] == "w" else ran)[int(name[1:])] = int(count)
        elif name in counts:
            counts[name] = int(count)
    return Rate(start, seconds, **counts, waited=Histogram(waited), ran=Histogram(ran))
