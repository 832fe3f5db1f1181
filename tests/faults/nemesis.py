"""What breaks things, by a seed that a failing test prints, and when it did."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

logger = logging.getLogger(__name__)

Harm = Callable[[random.Random], str]


@dataclass
class Fault:
    """One thing that was done, and when it was over; seconds since the epoch."""

    what: str
    begun_at: float
    over_at: float


class Nemesis:
    """Does harm at intervals, in a thread of its own; an error in it fails the test."""

    def __init__(self, seed: int, faults: list[Fault] | None = None) -> None:
        self.random = random.Random(seed)
        self.faults = [] if faults is None else faults  # also those of another nemesis at work beside it
        self._stop = threading.Event()
        self._failure: BaseException | None = None

    def once(self, harm: Harm) -> Fault:
        """Do one harm now; it returns what it did."""
        begun_at = time.time()
        what = harm(self.random)
        fault = Fault(what, begun_at, time.time())
        self.faults.append(fault)
        logger.warning("nemesis: %s (%.1f s)", fault.what, fault.over_at - fault.begun_at)
        return fault

    @contextmanager
    def every(self, seconds: float, *harms: Harm, jitter: float = 0.0) -> Iterator[None]:
        """While the block runs, one of the harms begins every so many seconds, by the clock.

        After one that takes longer than that the next begins at once; none is under way when the block ends.
        """
        thread = threading.Thread(target=self._loop, args=(seconds, harms, jitter), name="nemesis", daemon=True)
        self._stop.clear()
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(120)
        assert not thread.is_alive(), "the nemesis is stuck"
        if self._failure is not None:
            raise AssertionError("the nemesis itself failed") from self._failure

    def pause(self, seconds: float) -> None:
        """For a harm that lasts: waits, and no longer than the block of ``every``."""
        self._stop.wait(seconds)

    def _loop(self, seconds: float, harms: tuple[Harm, ...], jitter: float) -> None:
        begun = time.monotonic()
        while not self._stop.wait(begun + seconds * (1 + jitter * self.random.uniform(-1, 1)) - time.monotonic()):
            begun = time.monotonic()
            try:
                self.once(self.random.choice(harms))
            except BaseException as error:  # noqa: BLE001 -- raised again in the test's own thread
                self._failure = error
                return
