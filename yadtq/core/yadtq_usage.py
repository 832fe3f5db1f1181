"""What a worker's processes use and do: memory, processor time, tasks a minute. A few small reads of /proc; absent elsewhere."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LOOK_EVERY = 1.0  # seconds between two looks at least
RATE_OVER = 60.0  # seconds

_PROC = Path("/proc")


class Usage:
    """Asked with every beat; ``own`` is this process, the others are the children that run tasks."""

    def __init__(self) -> None:
        self._seen = time.monotonic()
        self._spent: dict[int, float] = {os.getpid(): time.process_time()}
        self._last: dict[str, Any] = {}
        self._ends: deque[tuple[float, int, int]] = deque([(self._seen, 0, 0)])

    def look(self, children: Iterable[int]) -> dict[str, Any]:
        """``rss`` in bytes and ``cpu`` as a share of one core since the last look; what cannot be told is absent."""
        now = time.monotonic()
        span = now - self._seen
        if self._last and span < LOOK_EVERY:
            return self._last
        pids = list(children)
        spent = {pid: seconds for pid in pids if (seconds := _processor_time(pid)) is not None}
        known = len(spent) == len(pids) or _PROC.is_dir()  # a child that has just died is no gap in what is known
        spent[os.getpid()] = time.process_time()
        used = sum(max(0.0, seconds - self._spent.get(pid, 0.0)) for pid, seconds in spent.items())
        memory = [_resident(pid) for pid in (os.getpid(), *pids)]
        found: dict[str, Any] = {}
        if memory[0] is not None:
            found["rss"] = sum(size or 0 for size in memory)
        if known and span > 0:
            found["cpu"] = round(used / span, 3)
        self._seen, self._spent, self._last = now, spent, found
        return found

    def rates(self, done: int, failed: int) -> tuple[float, float]:
        """Tasks done, and failed among them, a minute, over the last minute."""
        now = time.monotonic()
        if now - self._ends[-1][0] >= LOOK_EVERY:
            self._ends.append((now, done, failed))
        while len(self._ends) > 2 and self._ends[1][0] <= now - RATE_OVER:
            self._ends.popleft()
        since, done_then, failed_then = self._ends[0]
        minutes = max(now - since, LOOK_EVERY) / 60
        return round((done - done_then) / minutes, 1), round((failed - failed_then) / minutes, 1)


def _resident(pid: int) -> int | None:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return None


def _processor_time(pid: int) -> float | None:
    try:  # after the name, which may hold anything: state, then the 14th and 15th field are user and system time
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return None
