"""How many tasks ended, over time."""

from __future__ import annotations

from dataclasses import fields

from yadtq.core.views.base import Reads
from yadtq.core.views.models import MinuteStats

_TALLIES = [entry.name for entry in fields(MinuteStats)[1:]]


class RateReads(Reads):
    """Figures over time."""

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
