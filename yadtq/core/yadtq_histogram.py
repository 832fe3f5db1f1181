"""Lengths of time in log buckets: counted by the scripts, added up and read as percentiles here. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

PER_OCTAVE = 4
LAST = 120  # 12 days and more


def bucket_of(ms: float) -> int:
    """The bucket of a length of time; the same rule as in lua/common.lua."""
    return 0 if ms < 1 else min(LAST, 1 + math.floor(math.log(ms) / math.log(2) * PER_OCTAVE))


def middle_of(bucket: int) -> float:
    """Seconds that stand for a bucket: no value in it is more than 9.1 % away (but for those under 1 ms: 0.5 ms)."""
    return 0.0005 if bucket == 0 else float(2 ** ((bucket - 0.5) / PER_OCTAVE)) / 1000


@dataclass(frozen=True)
class Histogram:
    """How many took how long, by bucket; four buckets to an octave from 1 ms on."""

    counts: dict[int, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    @cached_property
    def _ordered(self) -> tuple[int, list[tuple[int, int]]]:
        """The total, and the buckets from the shortest on; it is made once for several percentiles."""
        return self.total, sorted(self.counts.items())

    def percentile(self, share: float) -> float | None:
        """Seconds that this share (0 to 1) did not exceed, to 9.1 %; None where there is nothing."""
        total, ordered = self._ordered
        left = max(1, math.ceil(total * share))
        for bucket, count in ordered:
            left -= count
            if left <= 0:
                return middle_of(bucket)
        return None

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram.sum((self, other))

    @staticmethod
    def sum(several: Iterable[Histogram]) -> Histogram:
        """All of them as one."""
        counts: dict[int, int] = {}
        for one in several:
            for bucket, count in one.counts.items():
                counts[bucket] = counts.get(bucket, 0) + count
        return Histogram(counts)
