"""Worker processes that a test starts, kills, stops, and lets go on."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class WorkerProcess:
    """One worker in a process of its own, from its start to its end."""

    def __init__(
        self, number: int, folder: Path, settings: dict[str, Any], options: dict[str, Any], without: Iterable[str]
    ) -> None:
        self.name = f"w{number}"
        self.log = folder / f"{self.name}.log"
        orders = folder / f"{self.name}.json"
        orders.write_text(
            json.dumps(
                {
                    "settings": settings,
                    "folder": str(folder),
                    "name": self.name,
                    "options": options,
                    "without": [*without],
                }
            )
        )
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker_main", str(orders)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.killed_at: float | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.killed_at = time.time()
        self._process.kill()
        self._close()

    def wait(self, timeout: float) -> int:
        """Wait for its end; returns the exit code. Raises TimeoutExpired."""
        code = self._process.wait(timeout)
        self._close()
        return code

    def _close(self) -> None:
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()


class Crew:
    """The workers of one test."""

    def __init__(self, folder: Path, settings: dict[str, Any], **options: Any) -> None:
        self._folder = folder
        self._settings = settings
        self._options = options
        self._numbers = itertools.count(1)
        self.all: list[WorkerProcess] = []  # also those that are gone

    def start(self, count: int = 1, *, without: Iterable[str] = (), **settings: Any) -> list[WorkerProcess]:
        """Start so many more workers; returns at once with the new ones."""
        new = [
            WorkerProcess(next(self._numbers), self._folder, {**self._settings, **settings}, self._options, without)
            for _ in range(count)
        ]
        self.all += new
        return new

    @property
    def running(self) -> list[WorkerProcess]:
        return [worker for worker in self.all if worker.running]

    def roll(self, grace: float) -> list[tuple[int, float]]:
        """End one worker after the other with SIGTERM, a new one started before each; exit codes and seconds."""
        ends = []
        for worker in self.running:
            self.start()
            asked_at = time.monotonic()
            worker.signal(signal.SIGTERM)
            ends.append((worker.wait(grace + 30), time.monotonic() - asked_at))
        return ends

    def end(self) -> None:
        """Kill what is left, also what is stopped."""
        for worker in self.running:
            worker.kill()

    def tracebacks(self) -> list[str]:
        """The logs' tracebacks, less those that tasks raise on purpose."""
        found = []
        for worker in self.all:
            parts = worker.log.read_text(errors="replace").split("Traceback (most recent call last)")[1:]
            found += [f"{worker.name}: {part[:2000]}" for part in parts if "Injected: " not in part[:4000]]
        return found
