"""Where tasks run: a pool of threads that take runs in the order of their tokens.

A running task is stopped by raising an error inside its thread (CPython's PyThreadState_SetAsyncExc); it is
delivered at the next bytecode, so a task blocked in a system call hears it when that call returns.
"""

from __future__ import annotations

import ctypes
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from yadtq.errors import TaskCancelled, TaskTimeout

logger = logging.getLogger(__name__)

R = TypeVar("R")

WATCH_EVERY = 0.1  # seconds between two looks at time limits


class Slot(Generic[R]):
    """One thread's present run."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.run: R | None = None
        self.thread_id = 0
        self.deadline: float | None = None  # monotonic seconds
        self.cancelled = False
        self._told = False  # at most one error is raised in a run

    def begin(self, run: R, timeout: float | None) -> None:
        with self.lock:
            self.run = run
            self.deadline = time.monotonic() + timeout if timeout else None
            self.cancelled = self._told = False

    def end(self) -> None:
        with self.lock:
            self.run = None
            self.deadline = None

    def interrupt(self, run: R, error: type[Exception]) -> None:
        """Raise ``error`` in the run, unless it has ended meanwhile."""
        with self.lock:
            if self.run is run and not self._told:
                self._told = True
                self.cancelled = error is TaskCancelled
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread_id), ctypes.py_object(error))


class ThreadPool(Generic[R]):
    """Runs what it is given on ``size`` threads; ``execute`` gets the run and its slot and must not raise."""

    def __init__(self, size: int, execute: Callable[[R, Slot[R]], None]) -> None:
        self._execute = execute
        self._todo: queue.SimpleQueue[R | None] = queue.SimpleQueue()
        self.slots: list[Slot[R]] = [Slot() for _ in range(size)]
        self._threads: list[threading.Thread] = []
        self._watcher: threading.Thread | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        for number, slot in enumerate(self.slots):
            thread = threading.Thread(target=self._work, args=(slot,), name=f"yadtq-task-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._watcher = threading.Thread(target=self._watch, name="yadtq-time-limits", daemon=True)
        self._watcher.start()

    def put(self, run: R) -> None:
        self._todo.put(run)

    def waiting(self) -> list[R]:
        """Take back what no thread has begun."""
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
        return [run for slot in self.slots if (run := slot.run) is not None]

    def cancel(self, wanted: Callable[[R], bool]) -> None:
        """Raise TaskCancelled in the runs that are wanted."""
        for slot in self.slots:
            run = slot.run
            if run is not None and wanted(run):
                slot.interrupt(run, TaskCancelled)

    def stop(self) -> None:
        """Threads end after their present run; stopping twice is fine."""
        self._stopped.set()
        for _ in self._threads:
            self._todo.put(None)

    def _work(self, slot: Slot[R]) -> None:
        slot.thread_id = threading.get_ident()
        while True:
            try:
                run = self._todo.get()
                if run is None:
                    return
                self._execute(run, slot)
            except (TaskCancelled, TaskTimeout):
                # Raised for a run just as it ended: its outcome is already handed on.
                logger.debug("a stop came after the run had ended")

    def _watch(self) -> None:
        while not self._stopped.wait(WATCH_EVERY):
            now = time.monotonic()
            for slot in self.slots:
                run, deadline = slot.run, slot.deadline
                if run is not None and deadline is not None and deadline <= now:
                    slot.interrupt(run, TaskTimeout)
