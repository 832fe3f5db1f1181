"""One child process of the pool, as its worker sees it: started, asked, told to stop, and ended.

The child's side of the talk is yadtq_child.py.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from yadtq.errors import ConfigError

STOP_SIGNAL = signal.SIGUSR1  # tells a child to read its control pipe
WISH = struct.Struct(
    "=Q?"
)  # what the control pipe carries: a job's number, and whether it is cancelled (else: too long)
CLOSE_WITHIN = 2.0  # seconds a child may take to end by itself


@dataclass(frozen=True)
class Launch:
    """How a child is started, and the first thing it is sent."""

    command: Sequence[str]  # three file descriptors are appended: the talk, the control pipe and the report pipe
    load: bytes


class ChildDied(Exception):
    """The child ended before it answered, or was killed for what it answered; the text says how."""


class Child:
    """One child process and the ways to it; it takes jobs once :meth:`load` has returned.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, launch: Launch) -> None:
        self._load = launch.load
        self._news = select.poll()
        self._rest = b""  # the beginning of a word whose end has not come yet
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            self._socket, line = socket.socketpair()
            theirs.callback(line.close)
            ours.callback(self._socket.close)
            control, self._control = os.pipe()
            theirs.callback(os.close, control)
            ours.callback(os.close, self._control)
            self._reports, report = os.pipe()
            theirs.callback(os.close, report)
            ours.callback(os.close, self._reports)
            os.set_blocking(self._control, False)
            os.set_blocking(self._reports, False)
            self._talk: Connection[Any, Any] = Connection(os.dup(self._socket.fileno()))
            ours.callback(self._talk.close)
            self._news.register(self._talk.fileno(), select.POLLIN)
            self._news.register(self._reports, select.POLLIN)
            self._process = subprocess.Popen(
                [*launch.command, str(line.fileno()), str(control), str(report)],
                pass_fds=(line.fileno(), control, report),
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # what a task starts goes with it; the terminal's Ctrl-C is for the worker
            )
            ours.pop_all()

    def load(self) -> None:
        """Have it load the task functions; where it cannot, it is closed.

        Raises:
            ConfigError: it tells why it cannot.
            ChildDied: it ended before it was ready.
        """
        try:
            refusal = self.ask(self._load)
            if refusal:
                raise ConfigError(refusal.decode(errors="replace"))
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, data: bytes, hear: Callable[[bytes], None] = lambda _word: None) -> bytes:
        """Send, and wait for the answer; meanwhile ``hear`` is given each word of the report pipe. Raises ChildDied."""
        try:
            self._talk.send_bytes(data)
            while self._talk.fileno() not in (ready := {fd for fd, _ in self._news.poll()}):
                if self._reports in ready:
                    self._hear(hear)
            return self._talk.recv_bytes()
        except (EOFError, OSError) as error:
            raise ChildDied(self._how_it_ended()) from error
        finally:
            self._hear(hear)  # what was told before the end comes before the answer, also before a death

    def _hear(self, hear: Callable[[bytes], None]) -> None:
        try:
            while data := os.read(self._reports, 65_536):
                *words, self._rest = (self._rest + data).split(b"\n")
                for word in words:
                    hear(word)
            with contextlib.suppress(KeyError):  # its other end is closed: nothing comes any more
                self._news.unregister(self._reports)
        except BlockingIOError:
            return

    def tell(self, number: int, *, cancelled: bool) -> None:
        """Have an error raised in this job, if the child is at it."""
        with contextlib.suppress(OSError):  # it has just died: its slot will see
            os.write(self._control, WISH.pack(number, cancelled))
            self._process.send_signal(STOP_SIGNAL)

    def hang_up(self) -> None:
        """End the talk: who waits for an answer is told, although a process the child left behind still holds the line."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        """End it, and what its task has started, at once."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it; returns when it is gone."""
        self.kill()
        self._process.wait()

    def close(self) -> None:
        """Let it end by itself, then kill it; closing twice is fine."""
        self.hang_up()
        self._wait(CLOSE_WITHIN)
        self._talk.close()
        self._socket.close()
        if self._control >= 0:
            os.close(self._control)
            os.close(self._reports)
            self._control = -1

    def _how_it_ended(self) -> str:
        return ending(self._wait(CLOSE_WITHIN))

    def _wait(self, seconds: float) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:  # it has closed the line and goes on
            self.kill()
            return self._process.wait()


def ending(code: int) -> str:
    """How a process ended, by its exit code."""
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL (out of memory?)"
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
