"""A process of the fault tests: started with its orders in a file, killed, stopped, let go on, awaited."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """``python -m MODULE ORDERS`` from its start to its end; ``name`` names its log and its orders in ``folder``.

    Its standard input is a pipe that ends with this process: a child reads it to end with the test.
    """

    def __init__(self, module: str, name: str, folder: Path, orders: dict[str, Any]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        path = folder / f"{name}.json"
        path.write_text(json.dumps(orders))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(path)],
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
        self.end()

    def end(self) -> None:
        """Let go of it, and kill it where it still lives."""
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


def children_of(pid: int | None) -> list[int]:
    """The pids of the processes that a process has started and that still run."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def tracebacks_in(log: Path) -> list[str]:
    """A log's tracebacks, less those that tasks raise on purpose."""
    parts = log.read_text(errors="replace").split("Traceback (most recent call last):\n")[1:]
    return [f"{log.stem}: {part[:2000]}" for part in parts if "Injected: " not in _error_of(part)]


def _error_of(trace: str) -> str:
    """The line of a traceback that names the error: the first that is not indented."""
    return next((line for line in trace.splitlines() if line and not line[0].isspace()), "")


def end_with_the_test() -> None:
    """For a child's thread: the test's end is the end of our standard input."""
    while os.read(sys.stdin.fileno(), 4096):  # not by sys.stdin: its lock would break the interpreter's own end
        pass
    os._exit(1)
