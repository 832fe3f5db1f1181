"""A server as a child process that dies with us: started, awaited until it serves, stopped or killed."""

from __future__ import annotations

import functools
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from yadtq.errors import EmbeddedError

SHIM = Path(__file__).with_name("shim.py")
WAY_TO_DIE = "prctl" if sys.platform == "linux" else "watch"
MAX_LOG_BYTES = 5_000_000
POLL_SECONDS = 0.02
JAVA_ERROR = re.compile(r"^(Caused by: )?[\w.$]+(Exception|Error)\b")

_Start = Callable[[], "subprocess.Popen[bytes]"]


class ServerProcess:
    """One server: its command, its log and, while it runs, its pid."""

    def __init__(self, name: str, command: Sequence[str], *, folder: Path, hold: Sequence[int] = ()) -> None:
        self.name = name
        self.command = list(command)
        self.folder = folder  # the working folder, so that paths in the server's settings stay short and movable
        self.log = folder / "logs" / f"{name}.log"
        self._hold = tuple(hold)  # file descriptors that the server shares, such as its folder's lock
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id, or None while it does not run."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server without waiting until it serves."""
        if self.running:
            return
        self._log_start = _open_chapter(self.log)
        started: Future[subprocess.Popen[bytes]] = Future()
        _spawner(os.getpid()).put((started, self._spawn))
        self._process = started.result()

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Return once ``ready()`` is true; a server that ends first, or is too slow, is an EmbeddedError."""
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise EmbeddedError(f"{self.name} could not start: {self.last_words()} (log: {self.log})")
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedError(
                    f"{self.name} did not serve within {timeout:.0f} s: {self.last_words()} (log: {self.log})"
                )
            time.sleep(POLL_SECONDS)

    def ask_to_stop(self) -> None:
        """Send SIGTERM and return at once; ``stop`` then waits."""
        if self._process is not None:
            self._process.terminate()

    def stop(self, grace: float = 10.0) -> None:
        """Stop cleanly; a server still there after ``grace`` seconds is killed."""
        self.ask_to_stop()
        try:
            if self._process is not None:
                self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def last_words(self) -> str:
        """The line of this start's log that says most about a failure."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return _telling_line(log.read().decode(errors="replace"))

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", str(SHIM), str(os.getpid()), WAY_TO_DIE, *self.command],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=self._hold,
                start_new_session=True,  # Ctrl-C is for us: we stop workers before their servers
            )


@functools.cache
def _spawner(pid: int) -> queue.SimpleQueue[tuple[Future[subprocess.Popen[bytes]], _Start]]:
    """The queue of the one thread that starts children; ``pid`` gives a forked process a thread of its own.

    Linux sends the parent-death signal when the *thread* that started a child ends, so a server started
    from a short-lived thread would die with that thread. This one lives as long as the process.
    """
    requests: queue.SimpleQueue[tuple[Future[subprocess.Popen[bytes]], _Start]] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            started, spawn = requests.get()
            try:
                started.set_result(spawn())
            except Exception as error:  # noqa: BLE001 - it is raised again where start() waits
                started.set_exception(error)

    threading.Thread(target=serve, name=f"yadtq-spawner-{pid}", daemon=True).start()
    return requests


def _open_chapter(log: Path) -> int:
    """Make room for a new start in the log and return where it begins."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    log.touch()
    return log.stat().st_size


def run_briefly(name: str, command: Sequence[str], *, folder: Path) -> None:
    """Run a short command to its end; its failure is an EmbeddedError with its most telling line."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EmbeddedError(f"{name} failed: {_telling_line(done.stdout + done.stderr)}")


def _telling_line(output: str) -> str:
    """The last line that names an error as Java does, else simply the last one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if JAVA_ERROR.match(line)]
    return (errors or lines or ["it wrote nothing"])[-1]
