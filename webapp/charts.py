"""The throughput chart as numbers for one SVG: a line of successes, bars of failures, round axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yadtq.core.yadtq_views import MinuteStats

_WIDTH, _HEIGHT = 1000, 100


@dataclass(frozen=True)
class Bar:
    """One minute's failures, in the units of the plot."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Throughput:
    """What the chart's template draws and says."""

    line: str  # an SVG path
    bars: list[Bar]
    top: int  # the upper end of the line's axis
    failed_top: int  # the upper end of the bars' axis
    succeeded: int  # in the whole span
    failed: int
    last: int  # succeeded in the last full minute
    last_failed: int
    ticks: list[float]  # times along the bottom, seconds since the epoch


def throughput(minutes: Sequence[MinuteStats]) -> Throughput:
    """The chart of these minutes; the last one is still running."""
    good = [minute.success for minute in minutes]
    bad = [minute.failed for minute in minutes]
    top, failed_top = round_up(max(good)), round_up(max(bad))
    full = -2 if len(minutes) > 1 else -1
    quarters = range(0, len(minutes) - 1, max(len(minutes) // 4, 1))
    return Throughput(
        line=_line(good, top),
        bars=_bars(bad, failed_top),
        top=top,
        failed_top=failed_top,
        succeeded=sum(good),
        failed=sum(bad),
        last=good[full],
        last_failed=bad[full],
        ticks=[float(minutes[index].minute) for index in quarters],
    )


def round_up(peak: int) -> int:
    """The next number of the form 1, 2 or 4 times a power of ten, so that an axis can be quartered."""
    if peak <= 4:
        return 4
    power: int = 10 ** int(math.log10(peak))
    return next(step * power for step in (1, 2, 4, 10, 20) if step * power >= peak)


def _line(values: Sequence[int], top: int) -> str:
    step = _WIDTH / max(len(values) - 1, 1)
    heights = [_HEIGHT - value / top * _HEIGHT for value in values]
    points = (f"{index * step:.1f} {height:.1f}" for index, height in enumerate(heights))
    return "M" + "L".join(points)


def _bars(values: Sequence[int], top: int) -> list[Bar]:
    slot = _WIDTH / len(values)
    heights = [round(value / top * _HEIGHT, 1) for value in values]
    return [
        Bar(round((index + 0.15) * slot, 1), round(_HEIGHT - height, 1), round(slot * 0.7, 1), height)
        for index, height in enumerate(heights)
        if height
    ]
