"""Worker processes that a test starts, kills, stops, and lets go on."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.faults.children import Child, tracebacks_in


class Crew:
    """The workers of one test."""

    def __init__(self, folder: Path, settings: dict[str, Any], **options: Any) -> None:
        self._folder = folder
        self._settings = settings
        self._options = options
        self._numbers = itertools.count(1)
        self.all: list[Child] = []  # also those that are gone

    def start(self, count: int = 1, *, without: Iterable[str] = (), **settings: Any) -> list[Child]:
        """Start so many more workers, without some guards; returns at once with the new ones."""
        new: list[Child] = []
        for _ in range(count):
            name = f"w{next(self._numbers)}"
            orders = {
                "settings": {**self._settings, **settings},
                "folder": str(self._folder),
                "name": name,
                "options": self._options,
                "without": [*without],
            }
            new.append(Child("tests.faults.worker_main", name, self._folder, orders))
            self.all.append(new[-1])
        return new

    @property
    def running(self) -> list[Child]:
        return [worker for worker in self.all if worker.running]

    @property
    def deaths(self) -> dict[int, float]:
        """When each worker that was killed here was killed, by its pid; seconds since the epoch."""
        return {worker.pid: worker.killed_at for worker in self.all if worker.killed_at}

    def named(self, name: str) -> Child:
        return next(worker for worker in self.all if worker.name == name)

    def replace(self, worker: Child, *, new_first: bool, timeout: float) -> tuple[int, float]:
        """End a worker with SIGTERM and start a new one before or after; the exit code, and seconds it took."""
        if new_first:
            self.start()
        asked_at = time.monotonic()
        worker.signal(signal.SIGTERM)
        code, seconds = worker.wait(timeout), time.monotonic() - asked_at
        if not new_first:
            self.start()
        return code, seconds

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While the block runs, a new worker is started for each that dies, as a supervisor does."""
        count, over = len(self.running), threading.Event()

        def keep() -> None:
            while not over.wait(0.2):
                self.start(count - len(self.running))

        thread = threading.Thread(target=keep, name="supervisor", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(30)

    def end(self) -> None:
        """Kill what is left, also what is stopped."""
        with ExitStack() as ends:  # all of them, whatever one of them raises
            for worker in self.all:
                ends.callback(worker.end)

    def tracebacks(self) -> list[str]:
        """The logs' tracebacks, less those that tasks raise on purpose."""
        return [found for worker in self.all for found in tracebacks_in(worker.log)]
