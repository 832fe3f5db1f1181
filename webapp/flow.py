"""How fast each queue fills and empties: by what this process has seen of it over the last minute or two. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webapp.wording import DAY, MINUTE, duration

if TYPE_CHECKING:
    from collections.abc import Mapping

_LEAST = 5.0  # seconds between two looks from which a rate can be told
_KEPT = 150.0  # seconds; the lag's noting alone looks once a minute
_ENOUGH = 60.0  # seconds a rate is taken over, where there are looks


@dataclass(frozen=True)
class Flow:
    """Runs of one queue a minute."""

    came: float  # records that were published: submits, due tasks, retries
    done: float  # runs that ended

    def outlook(self, queued: int) -> str:
        """What becomes of so many waiting tasks at this pace."""
        net = self.done - self.came
        if not queued or abs(net) < max(1.0, 0.02 * self.came):
            return "steady" if queued and self.came else "–"
        if net < 0:
            return "growing"
        left = queued / net * MINUTE
        return duration(left) if left < DAY else "over a day"


@dataclass(frozen=True)
class _Look:
    at: float
    ends: Mapping[str, int]  # by queue, how many records were ever published
    unfinished: Mapping[str, int]  # by queue, tasks that wait or run


class Flows:
    """Looks of the last minutes; kept by one thread."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque()

    def look(self, at: float, ends: Mapping[str, int], unfinished: Mapping[str, int]) -> dict[str, Flow]:
        """The rates by queue, with this look as the newest."""
        now = _Look(at, ends, unfinished)
        self._looks.append(now)
        while self._looks[0].at < at - _KEPT or (len(self._looks) > 2 and self._looks[1].at <= at - _ENOUGH):
            self._looks.popleft()
        then = self._looks[0]
        if at - then.at < _LEAST:
            return {}
        return {queue: _between(then, now, queue) for queue in ends if queue in then.ends}


def _between(then: _Look, now: _Look, queue: str) -> Flow:
    minutes = (now.at - then.at) / MINUTE
    came = max(0, now.ends[queue] - then.ends[queue])
    more = now.unfinished.get(queue, 0) - then.unfinished.get(queue, 0)
    return Flow(came / minutes, max(0, came - more) / minutes)
