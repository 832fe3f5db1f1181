"""How many tasks ended, waited and ran how long, over time: from the sums that the moves keep by minute, quarter and hour."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Literal

from yadtq.core.views.base import Reads
from yadtq.core.views.models import MinuteStats, Rate
from yadtq.core.yadtq_histogram import Histogram

Span = Literal["1h", "24h", "7d"]
SPANS: dict[str, tuple[str, int, int]] = {  # the key, its seconds, how many points
    "1h": ("minute:", 60, 60),
    "24h": ("quarter:", 900, 96),
    "7d": ("hour:", 3600, 168),
}

_TALLIES = [entry.name for entry in fields(MinuteStats)[1:]]


class RateReads(Reads):
    """Figures over time."""

    def rates(self, span: Span = "1h") -> list[Rate]:
        """60 minutes, 96 quarters of an hour or 168 hours by Redis' clock, oldest first; the last one is still running."""
        key, seconds, points = SPANS[span]
        now = self._store.time_ms() // 1000
        last = now - now % seconds
        starts = range(last - seconds * (points - 1), last + 1, seconds)
        raw_open = self._store.guard(lambda: self._store.client.get(self._store.key("open_minute")))
        open_minute = int(raw_open or 0)
        pipe = self._store.client.pipeline(transaction=False)
        for start in starts:
            pipe.hgetall(self._store.key(key, str(start)))
        pipe.hgetall(self._store.key("minute:", str(open_minute)))
        *rows, unfolded = (
            Counter({field.decode(): int(n) for field, n in row.items()}) for row in self._store.guard(pipe.execute)
        )
        if seconds > 60:  # the open minute is not yet in its quarter and hour
            index = (open_minute - starts[0]) // seconds
            if 0 <= index < points:
                rows[index] += unfolded
        return [_rate(start, seconds, row) for start, row in zip(starts, rows, strict=True)]

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


def _rate(start: int, seconds: int, row: Counter[str]) -> Rate:
    counts = {name: row[name] for name in ("success", "failed", "cancelled", "expired", "retried")}
    return Rate(start, seconds, **counts, waited=_histogram(row, "w"), ran=_histogram(row, "r"))


def _histogram(row: Counter[str], kind: str) -> Histogram:
    return Histogram({int(name[1:]): n for name, n in row.items() if name[0] == kind and name[1:].isdigit()})
