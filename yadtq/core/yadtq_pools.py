"""Where tasks run: slots that take runs in the order of their tokens, here as threads of this process.

A running task is stopped by raising an error inside its thread (CPython's PyThreadState_SetAsyncExc); it is
delivered at the next bytecode, so a task blocked in a system call hears it when that call returns, and one that
is in the midst of something all threads share is told a moment later (:func:`may_be_stopped`). One that
has not ended some time after its limit is given up: its thread is left alone, and another takes its place.
"""

from __future__ import annotations

import ctypes
import itertools
import logging
import queue
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from yadtq.core.yadtq_report import Report, Told, capture
from yadtq.errors import TaskCancelled, TaskTimeout

logger = logging.getLogger(__name__)

R = TypeVar("R")

Guard = Callable[[Callable[[], None]], None]  # runs a thread's loop, and minds its failure

WATCH_EVERY = 0.1  # seconds between two looks at time limits


class Slot(Generic[R]):
    """The present run of one thread."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.run: R | None = None
        self.thread_id = 0
        self.deadline: float | None = None  # monotonic seconds
        self.told_at: float | None = None  # when an error was raised in the run: at most one is
        self.cancelled = False
        self.dropped = False  # nobody waits for this run's outcome any more
        self.report: Report | None = None  # what the present run tells; nothing where it tells nothing

    def begin(self, run: R, timeout: float | None) -> None:
        with self.lock:
            self.run = run
            self.deadline = time.monotonic() + timeout if timeout else None
            self.cancelled = self.dropped = False
            self.told_at = None

    def end(self) -> None:
        """The run is over: from here on nothing is raised in it. Ending twice is fine."""
        with self.lock:
            self.run = None
            self.deadline = None
            if self.told_at is not None:
                self._take_back()

    def telling(self) -> Told | None:
        """Where what the present run tells goes; None between two runs."""
        if self.run is None:
            return None
        if self.report is None:
            self.report = Report()
        return self.report

    def take_report(self) -> Report | None:
        """What the run that has just ended has told."""
        report, self.report = self.report, None
        return report

    def interrupt(self, run: R, error: type[Exception]) -> None:
        """Raise ``error`` in the run, unless it has ended meanwhile; at a bad moment nothing is done, and the caller asks again.

        The watcher asks ten times a second, a cancel comes with each beat; past its limit and its grace, a run is given up all the same.
        """
        with self.lock:
            if self.run is run and self.told_at is None and self._may_be_told():
                self.told_at = time.monotonic()
                self.cancelled = error is TaskCancelled
                self._raise(error)

    def drop(self, run: R) -> bool:
        """Want no outcome of the run any more; False if it has ended meanwhile."""
        with self.lock:
            if self.run is not run:
                return False
            self.dropped = True
            return True

    def _may_be_told(self) -> bool:
        return may_be_stopped(self.thread_id)

    def _raise(self, error: type[Exception]) -> None:
        _set_pending_error(self.thread_id, error)

    def _take_back(self) -> None:
        """An error that was not delivered before the end must not hit what comes after it."""
        _set_pending_error(self.thread_id, None)


def may_be_stopped(thread_id: int) -> bool:
    """Whether an error raised in the thread now would break nothing that it shares with others.

    It would inside logging, which before 3.13 takes a handler's lock outside its ``try``: the lock stays taken, and whoever
    logs hangs. Inside an import, which has locks as well. And inside redis-py between a command and its answer, which the next
    user of the connection would read; while it reads it drops the connection by itself, so that a loop that waits for Redis
    can be stopped.

    The thread cannot go on between this look and the raise, since the GIL is held, unless it is handed on just there: whoever
    waits asks for it after 5 ms, and this takes microseconds. That small window stays.
    """
    frame = sys._current_frames().get(thread_id)
    modules = []
    while frame is not None:
        modules.append(str(frame.f_globals.get("__name__")))
        frame = frame.f_back
    roots = {name.partition(".")[0] for name in modules}
    reads = any(name.startswith("redis._parsers") for name in modules)
    return roots.isdisjoint({"logging", "importlib"}) and (reads or "redis" not in roots)


class _Lowered(BaseException):
    """Raised by a thread in itself, and caught at once."""


def _set_pending_error(thread_id: int, error: type[Exception] | None) -> None:
    """Have the error raised in a thread when it next runs, in place of one that waits there; None: no error.

    Before 3.13, CPython raises a flag for it that all threads share, and lowers it only when an error is delivered. Where
    none is, as after None or in a blocked thread, the interpreter looks for errors at every call from then on, and in 3.11
    a traced function (coverage, a debugger) never gets past its first line. So one is delivered here. Nothing is missed:
    a thread that has an error waiting raises the flag again as it takes the GIL.
    """
    set_error = ctypes.pythonapi.PyThreadState_SetAsyncExc
    set_error(ctypes.c_ulong(thread_id), None if error is None else ctypes.py_object(error))
    try:
        set_error(ctypes.c_ulong(threading.get_ident()), ctypes.py_object(_Lowered))
        while True:
            pass
    except _Lowered:
        return


S = TypeVar("S", bound=Slot[Any])


class Pool(ABC, Generic[R, S]):
    """Runs what it is given on ``size`` slots; ``execute`` gets the run and its slot and must not raise."""

    def __init__(self, size: int, execute: Callable[[R, S], None], grace: float) -> None:
        self.size = size
        self._execute = execute
        self._grace = grace  # seconds a run may take to end once an error was raised in it
        self._todo: queue.SimpleQueue[R | None] = queue.SimpleQueue()
        self.slots: list[S] = []
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count()  # of the threads
        self._stopped = threading.Event()
        self._able_at = time.monotonic()  # when it could last run something
        self._lock = threading.Lock()  # for the list of slots
        self._guarded: Guard = lambda loop: loop()

    def start(self, guarded: Guard | None = None) -> None:
        """Start the threads, each within ``guarded``."""
        if guarded is not None:
            self._guarded = guarded
        with self._lock:
            self.slots += [self._start_slot() for _ in range(self.size)]
        threading.Thread(target=self._guarded, args=(self._watch,), name="yadtq-time-limits", daemon=True).start()

    def wait_ready(self, given_up: Callable[[], bool]) -> None:
        """Return when tasks can be run, or when ``given_up()``.

        Raises:
            ConfigError: they never can.
        """

    @property
    def capacity(self) -> int:
        """How many runs it can work at now."""
        return len(self.slots)

    @property
    def unable_for(self) -> float:
        """Seconds since it could last run anything; 0 where it can."""
        return 0.0 if self.capacity else time.monotonic() - self._able_at

    @property
    def stuck(self) -> int:
        """How many threads are lost to runs that do not end."""
        return 0

    def put(self, run: R) -> None:
        self._todo.put(run)

    @property
    def backlog(self) -> int:
        """How many runs wait for a slot."""
        return self._todo.qsize()

    def take_unbegun(self) -> list[R]:
        """Take back what has not begun."""
        found: list[R] = []
        while True:
            try:
                run = self._todo.get_nowait()
            except queue.Empty:
                return found
            if run is not None:
                found.append(run)

    def running(self) -> list[R]:
        """The runs under way."""
        return [run for slot in list(self.slots) if (run := slot.run) is not None]

    def reports(self) -> list[tuple[R, Report]]:
        """The runs under way that tell something, and what."""
        found: list[tuple[R, Report]] = []
        for slot in list(self.slots):
            run, report = slot.run, slot.report
            same_run = slot.run is run  # else the report may be the next one's
            if run is not None and report is not None and same_run:
                found.append((run, report))
        return found

    @property
    def pids(self) -> list[int]:
        """The child processes it runs tasks in."""
        return []

    def cancel(self, wanted: Callable[[R], bool]) -> None:
        """Raise TaskCancelled in the runs that are wanted."""
        for slot in list(self.slots):
            run = slot.run
            if run is not None and wanted(run):
                slot.interrupt(run, TaskCancelled)

    def abandon(self) -> None:
        """Want no outcome any more of what runs now: it was handed back."""
        for slot in list(self.slots):
            run = slot.run
            if run is not None:
                slot.drop(run)

    def stop(self) -> None:
        """Slots end after their present run; stopping twice is fine."""
        self._stopped.set()
        for _ in self._threads:
            self._todo.put(None)

    def _start_slot(self) -> S:
        slot = self._new_slot()
        name = f"yadtq-task-{next(self._numbers)}"
        thread = threading.Thread(target=self._guarded, args=(lambda: self._work(slot),), name=name, daemon=True)
        thread.start()
        self._threads = [*(one for one in self._threads if one.is_alive()), thread]  # not those that were given up
        return slot

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_EVERY):
            now = time.monotonic()
            if self.capacity:
                self._able_at = now
            for slot in list(self.slots):
                run, deadline = slot.run, slot.deadline
                if run is not None and deadline is not None and deadline <= now:
                    slot.interrupt(run, TaskTimeout)
                self._look_after(slot, run, now)

    @abstractmethod
    def _new_slot(self) -> S: ...

    @abstractmethod
    def _work(self, slot: S) -> None:
        """What a slot's thread does until the pool stops."""

    @abstractmethod
    def _look_after(self, slot: S, run: R | None, now: float) -> None:
        """Ten times a second: deal with what did not end when it was told to."""


class ThreadPool(Pool[R, Slot[R]]):
    """Runs on threads. A hung one is given up and replaced, as often as the pool has slots."""

    def __init__(
        self, size: int, execute: Callable[[R, Slot[R]], None], given_up: Callable[[R, Slot[R]], None], grace: float
    ) -> None:
        super().__init__(size, execute, grace)
        self._given_up = given_up  # told of a run whose thread was given up, and where it runs on
        self._stuck = 0

    @property
    def stuck(self) -> int:
        return self._stuck

    def _new_slot(self) -> Slot[R]:
        return Slot()

    def start(self, guarded: Guard | None = None) -> None:
        capture.install()
        super().start(guarded)

    def _work(self, slot: Slot[R]) -> None:
        try:
            self._serve(slot)
        finally:
            capture.threads.pop(threading.get_ident(), None)

    def _serve(self, slot: Slot[R]) -> None:
        slot.thread_id = threading.get_ident()
        capture.threads[slot.thread_id] = slot
        while True:
            try:
                run = self._todo.get()
                if run is None:
                    return
                self._execute(run, slot)
            except (TaskCancelled, TaskTimeout):
                # Raised for a run just as it ended: its outcome is already handed on.
                logger.debug("a stop came after the run had ended")
            if slot.dropped and slot not in self.slots:
                new = self._come_back()
                if new is None:
                    return
                slot = new

    def _look_after(self, slot: Slot[R], run: R | None, now: float) -> None:
        deadline = slot.deadline
        if run is None or deadline is None or deadline + self._grace > now or not slot.drop(run):
            return
        with self._lock:
            self._stuck += 1
            self.slots.remove(slot)
            if self._stuck <= self.size:
                self.slots.append(self._start_slot())
        self._given_up(run, slot)

    def _come_back(self) -> Slot[R] | None:
        """A thread that was given up has returned; it serves again where it was not replaced."""
        with self._lock:
            self._stuck -= 1
            if len(self.slots) >= self.size:
                return None
            slot: Slot[R] = Slot()
            slot.thread_id = threading.get_ident()
            capture.threads[slot.thread_id] = slot
            self.slots.append(slot)
            return slot
