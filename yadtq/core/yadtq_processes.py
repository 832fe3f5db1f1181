"""Where tasks run: child processes, one task at a time in each, so that a crash costs the task that caused it alone.

Each slot is a thread with a child of its own. The thread hands a task over, waits for the outcome, and knows
whose death it sees. Children are fresh interpreters: they share no connection and no lock with the worker. One child
is yadtq_task_process.py; its own side of the talk is yadtq_child.py.
"""

from __future__ import annotations

import itertools
import json
import logging
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from yadtq.core.yadtq_pools import Pool, Slot
from yadtq.core.yadtq_task import Outcome, Task
from yadtq.core.yadtq_task_process import CLOSE_WITHIN, Child, ChildDied, Launch
from yadtq.errors import ConfigError, TaskCancelled, TaskTimeout

logger = logging.getLogger(__name__)

R = TypeVar("R")

LONGEST_PAUSE = 30.0  # seconds between two starts of a child that does not come up


@dataclass(frozen=True)
class Job:
    """A task handed to a child."""

    number: int
    task: Task
    attempt: int
    fence: int


class ProcessSlot(Slot[R], Generic[R]):
    """A thread's present run, which happens in the child."""

    def __init__(self) -> None:
        super().__init__()
        self.child: Child | None = None
        self.coming: Child | None = None  # it loads the task functions, and is here for other threads to end
        self.killed_for: type[Exception] | None = None
        self._numbers = itertools.count(1)
        self._number = 0

    def begin(self, run: R, timeout: float | None) -> None:
        self._number = next(self._numbers)
        self.killed_for = None
        super().begin(run, timeout)

    def ask(self, task: Task, attempt: int, fence: int) -> Outcome:
        """The outcome of the task, from the child; raises ChildDied."""
        child = self.child
        assert child is not None  # a slot without one takes no run
        job = Job(self._number, task, attempt, fence)
        answer = child.ask(pickle.dumps(job), self._hear)
        try:
            outcome = pickle.loads(answer)  # noqa: S301 -- our own child, on a line of our own
        except Exception as error:  # noqa: BLE001 -- unpickling may raise anything
            outcome = error
        if isinstance(outcome, Outcome):
            return outcome
        child.end()  # its task has written on the line: whose answer the next one would be, nobody knows
        raise ChildDied(f"gave an answer that cannot be read ({outcome!r:.200})")

    def _hear(self, word: bytes) -> None:
        """One word that the task told; a thread that an earlier task left behind may tell one, too."""
        told = self.telling()
        if told is None:
            return
        try:
            said = json.loads(word)
        except (ValueError, RecursionError):  # two wrote at once, where the pipe does not keep their words apart
            return
        match said:
            case [self._number, "log", int() | float() as at, str() as level, str() as text]:
                told.log(at, level, text)
            case [
                self._number,
                "progress",
                int() | float() as at,
                int() | float() as done,
                None | int() | float() as total,
                str() as note,
            ]:
                told.progress(at, done, total, note)

    def kill(self, run: R, reason: type[Exception] | None) -> None:
        """Kill the child that is at this run, unless it has ended meanwhile."""
        with self.lock:
            child = self.child  # its thread may take it away meanwhile
            if self.run is run and child is not None:
                self.killed_for = reason
                child.kill()

    @property
    def ready(self) -> bool:
        """Whether its child can take a run."""
        return self.child is not None and self.child.alive

    def kill_coming(self) -> None:
        """Wait no longer for a child that is not ready yet."""
        coming = self.coming
        if coming is not None:
            coming.kill()
            coming.hang_up()  # also where something that it has started elsewhere still holds the line

    def _may_be_told(self) -> bool:
        return True  # nothing is shared with the child's one task

    def _raise(self, error: type[Exception]) -> None:
        child = self.child  # its thread may take it away meanwhile
        if child is not None:
            child.tell(self._number, cancelled=error is TaskCancelled)

    def _take_back(self) -> None:
        """Nothing to do: the child minds only the number of the job it is at."""


class ProcessPool(Pool[R, ProcessSlot[R]]):
    """Runs in child processes, which are reused. One that dies is replaced."""

    def __init__(self, size: int, execute: Callable[[R, ProcessSlot[R]], None], launch: Launch, grace: float) -> None:
        super().__init__(size, execute, grace)
        self._launch = launch
        self._settled = threading.Event()  # the first child is ready, or cannot be had
        self._refusal: ConfigError | None = None

    @property
    def pids(self) -> list[int]:
        # Each is looked at once: its thread may take it away meanwhile.
        return [child.pid for slot in list(self.slots) if (child := slot.child) is not None]

    @property
    def capacity(self) -> int:
        return sum(slot.child is not None for slot in self.slots)

    def wait_ready(self, given_up: Callable[[], bool]) -> None:
        while not self._settled.wait(0.1) and not given_up():
            pass
        if self._refusal is not None:
            raise self._refusal

    def abandon(self) -> None:
        """Kill what runs: another worker will begin it again. The pool takes no more, and starts no more children."""
        self._stopped.set()
        super().abandon()
        for slot in self.slots:
            run = slot.run
            if run is not None:
                slot.kill(run, None)
            slot.kill_coming()

    def stop(self) -> None:
        """End all children, those at work or still loading as well; returns when they are gone."""
        self.abandon()
        super().stop()
        deadline = time.monotonic() + CLOSE_WITHIN + 1.0  # one for all: they end side by side
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _new_slot(self) -> ProcessSlot[R]:
        return ProcessSlot()

    def _work(self, slot: ProcessSlot[R]) -> None:
        try:
            while self._revive(slot) and (run := self._todo.get()) is not None:
                if slot.ready:
                    self._execute(run, slot)
                else:  # it died while no run came: until there is another, other slots and other workers can have this one
                    self._todo.put(run)
        finally:
            if slot.child is not None:
                slot.child.close()

    def _revive(self, slot: ProcessSlot[R]) -> bool:
        """Give the slot a living child; False when the pool stops first, or no child can ever be had."""
        if slot.ready:
            return True
        if slot.child is not None:
            slot.child.close()
            slot.child = None
        pause = 0.5
        while not self._stopped.is_set():
            try:
                slot.child = self._start_child(slot)
                self._settled.set()
                return True
            except ConfigError as error:
                if not self._settled.is_set():
                    self._refusal = error
                    self._settled.set()
                    return False
                logger.error("%s; tried again in %g s", error, pause)
            except (ChildDied, OSError) as error:
                if not self._stopped.is_set():  # else it was ended by us
                    logger.error("a task process could not be started: it %s; tried again in %g s", error, pause)
            self._stopped.wait(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        return False

    def _start_child(self, slot: ProcessSlot[R]) -> Child:
        slot.coming = child = Child(self._launch)
        try:
            if self._stopped.is_set():  # it came after `abandon` had looked for it
                child.kill()
            child.load()
            return child
        finally:
            slot.coming = None

    def _look_after(self, slot: ProcessSlot[R], run: R | None, now: float) -> None:
        child = slot.coming if run is None else slot.child  # its thread may take it away meanwhile
        if child is not None and not child.alive:
            child.hang_up()
        if run is not None and slot.told_at is not None and slot.told_at + self._grace <= now:
            slot.kill(run, TaskCancelled if slot.cancelled else TaskTimeout)
