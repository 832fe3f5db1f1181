"""Child processes that are kept alive: started again when they die, stopped with their parent."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from yadtq.core.yadtq_task_process import ending
from yadtq.embedded.process import SHIM, WAY_TO_DIE

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
_CALM = 60.0  # a child that lived this long dies for a new reason: its pauses begin anew
TICK = 0.2  # seconds between two looks at the children


def command_line(*arguments: str) -> list[str]:
    """``yadtq …`` by this Python; reads as such in ``ps``, wherever the script is installed."""
    return [sys.executable, "-m", "yadtq", *arguments]


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM, and the terminal's hanging up, arrive as Ctrl-C does: as a KeyboardInterrupt."""
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it stays ignored
        wanted.append(signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Child:
    """One child process. ``tend`` is called every TICK; it starts the process again when it has died."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        say: Callable[[str], None],
        log: Path | None = None,
        *,
        may_end: bool = False,
    ) -> None:
        self.name = name
        self.over = False  # it has ended by itself, as it may: with 0, as somebody wanted
        self.exit_code: int | None = None  # of the last process that ended by itself
        self._command = list(command)
        self._environment = _merged(os.environ, environment)
        self._say = say
        self._log = log  # where its output goes; without one, where ours goes
        self._may_end = may_end  # it stays ended where it ended with 0
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._pause = 0.0
        self._resume_at = 0.0

    @property
    def pid(self) -> int | None:
        """The running process, if there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process. Called in the main thread: a child dies with the thread that made it."""
        self._started = time.monotonic()
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(self._log.open("ab")) if self._log else None
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(SHIM), str(os.getpid()), WAY_TO_DIE, *self._command],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # the terminal's Ctrl-C is for us: we stop things in order
            )

    def tend(self) -> None:
        """Notice a death, and start again once the pause is over."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._resume_at and not self.over:
                self.start()
            return
        code = self._process.poll()
        if code is None:
            return
        self.exit_code, self._process = code, None
        if code == 0 and self._may_end:
            self.over = True
            self._say(f"{self.name} was shut down and stays so")
            return
        calm = now - self._started > _CALM
        self._pause = _FIRST_PAUSE if calm or not self._pause else min(self._pause * 2, _LONGEST_PAUSE)
        self._resume_at = now + self._pause
        reason = self.last_words() if code > 0 else ""  # a killed one could not say why
        self._say(f"{self.name} {ending(code)}{reason}; it starts again in {self._pause:.0f} s")

    def terminate(self) -> None:
        """Ask it to stop."""
        if self._process:
            self._process.terminate()

    def wait(self, until: float) -> None:
        """Wait for its end, and kill it when the clock passes ``until``."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._say(f"{self.name} did not stop in time and is killed")
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def last_words(self) -> str:
        """The last line of its log: most often the reason."""
        if self._log is None or not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return f" ({lines[-1].strip()})" if lines else ""


def stop_all(children: Sequence[Child], grace: float) -> None:
    """Stop them side by side; a second Ctrl-C meanwhile kills what is left."""
    try:
        for child in children:
            child.terminate()
        deadline = time.monotonic() + grace
        for child in children:
            child.wait(deadline)
    except KeyboardInterrupt:
        for child in children:
            child.kill()
        raise


def _merged(inherited: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child; a Redis URL of ours replaces the single settings, which it contradicts."""
    overruled = {"YADTQ_REDIS_HOST", "YADTQ_REDIS_PORT"} if "YADTQ_REDIS_URL" in more else set()
    return {**{name: value for name, value in inherited.items() if name not in overruled}, **more}
