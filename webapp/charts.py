"""The overview's charts as numbers: what the SVG draws, what the script draws over it, and the story in words."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from webapp.wording import duration, number
from yadtq.core.yadtq_views import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from yadtq.core.yadtq_views import Rate

_WIDTH, _HEIGHT = 1000, 100  # of a plot
_SHARES = (("median", 0.5), ("p95", 0.95), ("p99", 0.99))
_TICKS = 4  # times along the bottom beside "now"


@dataclass(frozen=True)
class SpanWords:
    """How a span of time is named."""

    short: str
    long: str
    unit: str  # what one point stands for


SPAN_WORDS = {
    "1h": SpanWords("1 h", "last hour", "a minute"),
    "24h": SpanWords("24 h", "last 24 hours", "in 15 minutes"),
    "7d": SpanWords("7 d", "last 7 days", "an hour"),
}


@dataclass(frozen=True)
class Curve:
    """One line or row of bars; None where there is nothing to tell."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Bar:
    """One bar, in the units of the plot."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Plot:
    """One plot; the first curve is the one with an area under it."""

    starts: Sequence[int]  # seconds since the epoch, of each point
    curves: Sequence[Curve]
    top: float  # the upper end of its axis
    story: str  # for those who do not see it
    seconds: bool = False  # the values are lengths of time, else numbers

    @property
    def paths(self) -> list[str]:
        """Each curve as an SVG path; a lone point is a dot."""
        return [_line(curve.values, self.top) for curve in self.curves]

    @property
    def area(self) -> str:
        """What lies under the first curve."""
        return _area(self.curves[0].values, self.top)

    @property
    def bars(self) -> list[Bar]:
        """The first curve as bars."""
        slot = _WIDTH / len(self.starts)
        heights = [round((value or 0) / self.top * _HEIGHT, 1) for value in self.curves[0].values]
        return [
            Bar(round((index + 0.15) * slot, 1), round(_HEIGHT - height, 1), round(slot * 0.7, 1), height)
            for index, height in enumerate(heights)
            if height
        ]

    @property
    def data(self) -> str:
        """The same for the script, as JSON."""
        curves = [{"name": curve.name, "values": list(curve.values)} for curve in self.curves]
        return json.dumps({"starts": list(self.starts), "curves": curves, "top": self.top, "seconds": self.seconds})


@dataclass(frozen=True)
class Throughput:
    """How many tasks succeeded and failed."""

    good: Plot
    bad: Plot
    succeeded: int  # in the whole span
    failed: int
    last: int  # succeeded in the last full unit of time
    last_failed: int

    @property
    def share(self) -> float | None:
        """Of what ended, how much failed; None where nothing ended."""
        ended = self.succeeded + self.failed
        return self.failed / ended if ended else None


@dataclass(frozen=True)
class Lengths:
    """How long runs waited, or ran."""

    plot: Plot
    shares: list[tuple[str, float | None]]  # median, p95 and p99 of the whole span in seconds

    @property
    def has_dots(self) -> bool:
        """Whether a point stands alone."""
        return any("h0" in path for path in self.plot.paths)


def throughput(rates: Sequence[Rate], words: SpanWords) -> Throughput:
    """Both plots; the last point is still running."""
    good, bad = [rate.success for rate in rates], [rate.failed for rate in rates]
    starts = [rate.start for rate in rates]
    return Throughput(
        good=Plot(starts, [Curve("succeeded", good)], round_up(max(good)), _counted("succeeded", starts, good, words)),
        bad=Plot(starts, [Curve("failed", bad)], round_up(max(bad)), _counted("failed", starts, bad, words)),
        succeeded=sum(good),
        failed=sum(bad),
        last=good[-2],
        last_failed=bad[-2],
    )


def lengths(name: str, rates: Sequence[Rate], of: Callable[[Rate], Histogram], words: SpanWords) -> Lengths:
    """Median, p95 and p99 over time; ``of`` picks the histogram, ``name`` tells what it is of."""
    each = [of(rate) for rate in rates]
    curves = [Curve(word, [_rounded(one.percentile(share)) for one in each]) for word, share in _SHARES]
    whole = Histogram.sum(each)
    shares = [(word, whole.percentile(share)) for word, share in _SHARES]
    story = f"{name}, {words.long}: no run has ended"
    if whole.total:
        told = ", ".join(f"{word} {duration(value)}" for word, value in shares)
        story = f"{name}, {words.long}: {told}, of {number(whole.total)} runs; {_trend(each)}"
    top = _round_up_seconds(max((value for curve in curves for value in curve.values if value), default=1.0))
    return Lengths(Plot([rate.start for rate in rates], curves, top, story, seconds=True), shares)


def ticks(rates: Sequence[Rate]) -> list[float]:
    """Times along the bottom, seconds since the epoch; behind the last comes "now"."""
    return [float(rates[index * len(rates) // _TICKS].start) for index in range(_TICKS)]


def spark(values: Sequence[float], height: int = 24) -> tuple[str, str]:
    """A small curve without axes, and the area under it, in a box 100 wide."""
    top = max([*values, 1])
    step = 100 / max(len(values) - 1, 1)
    points = [f"{index * step:.1f} {height - 2 - value / top * (height - 4):.1f}" for index, value in enumerate(values)]
    line = "M" + "L".join(points)
    return line, f"{line}V{height}H0z"


def round_up(peak: int) -> int:
    """The next number that reads well at the end of an axis, and can be quartered."""
    if peak <= 4:
        return 4
    power: int = 10 ** int(math.log10(peak))
    tops = (step * power // 10 for step in (10, 12, 16, 20, 24, 32, 40, 60, 80, 100, 120))
    return next(top for top in tops if top >= peak and top % 4 == 0)


def _round_up_seconds(peak: float) -> float:
    """The next length that reads well at the end of an axis."""
    steps = [unit * step for unit, counts in _UNITS for step in counts]
    return next((step for step in steps if step >= peak), peak)


_UNITS = (
    (0.001, (1, 2, 4, 10, 20, 40, 100, 200, 400)),
    (1, (1, 2, 4, 10, 20, 40)),
    (60, (1, 2, 4, 10, 20, 40)),
    (3_600, (1, 2, 4, 12)),
    (86_400, (1, 2, 4, 8, 16)),
)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.3g}")


def _counted(word: str, starts: Sequence[int], values: Sequence[int], words: SpanWords) -> str:
    peak = max(values)
    story = f"Tasks {word} {words.unit}, {words.long}: {number(sum(values))} in all"
    if not peak:
        return story
    at = datetime.fromtimestamp(starts[values.index(peak)], timezone.utc)
    return f"{story}, {number(values[-2])} most recently, at most {number(peak)} at {at:%-d %b %H:%M} UTC"


def _trend(each: Sequence[Histogram]) -> str:
    """The last quarter's p95 beside that of the time before."""
    cut = len(each) * 3 // 4
    before, after = (Histogram.sum(part).percentile(0.95) for part in (each[:cut], each[cut:]))
    if before is None or after is None or 2 / 3 < after / before < 3 / 2:
        return "steady"
    return "rising" if after > before else "falling"


def _line(values: Sequence[float | None], top: float) -> str:
    return "".join(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + ("h0" if len(run) == 1 else "")
        for run in _runs(values, top)
    )


def _area(values: Sequence[float | None], top: float) -> str:
    return "".join(
        f"M{run[0][0]:.1f} {_HEIGHT}L" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + f"V{_HEIGHT}z"
        for run in _runs(values, top)
    )


def _runs(values: Sequence[float | None], top: float) -> list[list[tuple[float, float]]]:
    """The points, apart where there is nothing between them."""
    step = _WIDTH / max(len(values) - 1, 1)
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index * step, _HEIGHT - value / top * _HEIGHT))
    return [run for run in runs if run]
