"""One task through named steps to an Outcome: resolve, run, judge, encode. In a thread of the worker, or in a child process."""

from __future__ import annotations

import inspect
import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from yadtq.config import Settings
from yadtq.core.yadtq_codec import MAX_RESULT, dumps
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_pools import Slot
from yadtq.core.yadtq_processes import ProcessSlot
from yadtq.core.yadtq_report import MOST_NOTE, clean
from yadtq.core.yadtq_retry import RetryPolicy
from yadtq.core.yadtq_task import Outcome, OutcomeKind, Reason, Task
from yadtq.core.yadtq_task_process import ChildDied
from yadtq.errors import DoNotRetry, TaskCancelled, TaskNotSerializable, TaskTimeout

logger = logging.getLogger(__name__)

CONTEXT_NAME = "ctx"  # a parameter of this name is given the TaskContext
MAX_TRACEBACK = 16_384  # characters

S = TypeVar("S", bound=Slot[Any])


class Run(Protocol):
    """What distinguishes one run of a task from another."""

    @property
    def attempt(self) -> int: ...
    @property
    def fence(self) -> int: ...


@dataclass(frozen=True)
class TaskFunction:
    """A function that workers run, with the options that live with it."""

    name: str
    function: Callable[..., Any]
    retries: int | None = None
    timeout: float | None = None
    no_retry: tuple[type[BaseException], ...] = ()
    signature: inspect.Signature = field(default_factory=inspect.Signature)
    wants_context: bool = False

    def fits(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Empty, or why the arguments do not fit the signature."""
        extra = {CONTEXT_NAME: None} if self.wants_context else {}
        try:
            self.signature.bind(*args, **kwargs, **extra)
        except TypeError as error:
            return str(error)
        return ""


class TaskContext:
    """What a task may know of its own run: give its function a parameter named ``ctx``."""

    def __init__(self, task: Task, run: Run, slot: Slot[Any]) -> None:
        self.task_id = task.id
        self.name = task.name
        self.attempt = run.attempt  # from 1
        self.fence = run.fence  # rises with every run of this task: a guard for outside effects
        self._run, self._slot = run, slot

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far the run is: ``done`` of ``total``, in any unit, and a few words. Cheap; written once a second.

        Raises:
            TypeError, ValueError: not a number, or not a finite one.
        """
        if self._slot.run is self._run:  # else it has ended, and a thread that it has left behind tells this
            told = self._slot.telling()
            if told is not None:
                total = None if total is None else _number("total", total)
                told.progress(time.time(), _number("done", done), total, clean(str(note))[:MOST_NOTE])

    @property
    def cancelled(self) -> bool:
        """Whether a person has asked this run to stop."""
        return self._slot.cancelled


class Executor:
    """Runs deliveries with a worker's functions, in the thread that calls it."""

    def __init__(
        self, functions: Mapping[str, TaskFunction], settings: Settings, ended: Callable[[Delivery], None]
    ) -> None:
        self._functions = functions
        self._settings = settings
        self._ended = ended

    def execute(self, delivery: Delivery, slot: S) -> None:
        """Run one delivery to its outcome and hand it on; raises nothing of the task's."""
        task = delivery.task
        assert task is not None  # only read records are claimed
        delivery.begun_at = time.time()
        try:
            outcome = self.outcome(task, delivery, slot)
        except Exception as error:
            logger.exception("a run of task %s (%s) is lost to an error of the worker's own", task.name, task.id)
            outcome = Outcome(
                OutcomeKind.LOST, reason=Reason.WORKER_LOST, error=f"its worker failed: {describe(error)}"
            )
        if slot.told_at is not None:
            slot.end()  # an error raised from outside may have come just as the run ended
        delivery.report = slot.take_report()
        if slot.dropped:
            logger.info("a run of task %s that was given up has ended; its outcome is dropped", task.id)
        else:
            self._hand_on(delivery, outcome)

    def outcome(self, task: Task, run: Run, slot: Slot[Any]) -> Outcome:
        """Run a task; ``run`` is what the slot is told that it holds."""
        function = self._functions.get(task.name)
        return self._hand_back(task) if function is None else self._run(function, task, run, slot)

    def give_up(self, delivery: Delivery, slot: Slot[Any]) -> None:
        """Hand on the outcome of a run that did not stop when its time was over, and never may."""
        task = delivery.task
        assert task is not None
        delivery.report = slot.report
        function = self._functions[task.name]
        outcome = self._timed_out(function, task, delivery, "its thread was given up")
        logger.error(
            "task %s (%s) %s and may still be at it: what it returns later is dropped. The process pool could have killed it",
            task.name,
            task.id,
            outcome.error,
        )
        self._hand_on(delivery, outcome)

    def _hand_on(self, delivery: Delivery, outcome: Outcome) -> None:
        delivery.outcome = outcome
        delivery.finished_at = time.time()
        self._ended(delivery)

    def _hand_back(self, task: Task) -> Outcome:
        known = ", ".join(sorted(self._functions)) or "none"
        return Outcome(
            OutcomeKind.HANDBACK,
            reason=Reason.UNKNOWN_TASK,
            error=f"no worker knows {task.name}; this one knows {known}",
        )

    def _run(self, function: TaskFunction, task: Task, run: Run, slot: Slot[Any]) -> Outcome:
        timeout = time_limit(function, task)
        kwargs = {**task.kwargs, CONTEXT_NAME: TaskContext(task, run, slot)} if function.wants_context else task.kwargs
        try:
            slot.begin(run, timeout)
            try:
                result = function.function(*task.args, **kwargs)
            finally:
                slot.end()
            return self._encode(task, result)
        except TaskCancelled:
            return Outcome(OutcomeKind.CANCELLED, error="cancelled while it ran")
        except BaseException as error:  # noqa: BLE001 -- whatever a task raises is its outcome, never the thread's end
            misfit = function.fits(task.args, task.kwargs) if isinstance(error, TypeError) else ""
            if misfit:
                return Outcome(
                    OutcomeKind.FAILED, reason=Reason.REJECTED, error=f"arguments do not fit {task.name}: {misfit}"
                )
            return self._judge(function, task, run.attempt, error, timeout)

    def _encode(self, task: Task, result: Any) -> Outcome:
        try:
            data = dumps(result, f"the result of {task.name}")
        except TaskNotSerializable as error:
            return Outcome(OutcomeKind.FAILED, reason=Reason.ERROR, error=str(error))
        if len(data) > MAX_RESULT:
            sentence = f"the result of {task.name} takes {len(data):,} bytes, more than {MAX_RESULT:,}; store it elsewhere and return a reference"
            return Outcome(OutcomeKind.FAILED, reason=Reason.ERROR, error=sentence)
        return Outcome(OutcomeKind.SUCCESS, result=data)

    def _judge(
        self, function: TaskFunction, task: Task, attempt: int, error: BaseException, timeout: float | None
    ) -> Outcome:
        """What follows from an error: another attempt, or the end."""
        policy = self._policy(function, task)
        timed_out = isinstance(error, TaskTimeout)
        reason = Reason.TIMEOUT if timed_out else Reason.ERROR
        text = f"ran longer than {timeout:g} s" if timed_out and timeout else describe(error)
        trace = "" if isinstance(error, DoNotRetry) else traceback_of(error)
        if policy.allows(attempt, error):
            return Outcome(OutcomeKind.RETRY, reason=reason, error=text, traceback=trace, delay=policy.pause(attempt))
        return Outcome(OutcomeKind.FAILED, reason=reason, error=text, traceback=trace)

    def _timed_out(self, function: TaskFunction, task: Task, run: Run, how: str) -> Outcome:
        """What follows when a run did not even heed the error that its time limit raised in it."""
        timeout = time_limit(function, task) or 0.0
        outcome = self._judge(function, task, run.attempt, TaskTimeout(), timeout)
        return replace(outcome, error=f"{outcome.error}; {how}", traceback="")

    def _policy(self, function: TaskFunction, task: Task) -> RetryPolicy:
        retries = next(n for n in (task.retries, function.retries, self._settings.retries) if n is not None)
        return RetryPolicy(retries, self._settings.retry_backoff, self._settings.retry_backoff_max, function.no_retry)


class ChildExecutor(Executor):
    """Has the tasks run in the slots' child processes, where an Executor runs them."""

    def _run(self, function: TaskFunction, task: Task, run: Run, slot: Slot[Any]) -> Outcome:
        assert isinstance(slot, ProcessSlot)
        slot.begin(run, time_limit(function, task))
        try:
            return slot.ask(task, run.attempt, run.fence)
        except ChildDied as death:
            if not slot.dropped and slot.killed_for is None:
                logger.warning("task %s (%s): its process %s", task.name, task.id, death)
            return self._after_death(function, task, run, slot.killed_for, str(death))
        finally:
            slot.end()

    def _after_death(
        self, function: TaskFunction, task: Task, run: Run, killed_for: type[Exception] | None, ending: str
    ) -> Outcome:
        """The child was killed for what its task did not heed; else the task is held to have killed it."""
        if killed_for is TaskCancelled:
            return Outcome(OutcomeKind.CANCELLED, error="cancelled while it ran; its process was killed")
        if killed_for is TaskTimeout:
            return self._timed_out(function, task, run, "its process was killed")
        return Outcome(OutcomeKind.LOST, reason=Reason.WORKER_LOST, error=f"its process {ending}")


def _number(what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"ctx.progress: {what} must be a number, not {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"ctx.progress: {what} must be a finite number, not {number}")
    return int(number) if number.is_integer() else number


def time_limit(function: TaskFunction, task: Task) -> float | None:
    """Seconds one attempt may run: the submit's word, else the function's."""
    return function.timeout if task.timeout is None else task.timeout


def describe(error: BaseException) -> str:
    """An error in one line: for DoNotRetry its message alone, else with its type."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 -- a task's own class may break even here
        text = "(its message cannot be shown)"
    if isinstance(error, DoNotRetry):
        return text or "failed without a retry"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def traceback_of(error: BaseException) -> str:
    """The traceback from the task's own code on, its end kept where it is long."""
    frames = error.__traceback__.tb_next if error.__traceback__ is not None else None
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except Exception:  # noqa: BLE001 -- formatting calls the error's own __str__
        text = f"{type(error).__name__}: (its traceback cannot be shown)"
    return text[-MAX_TRACEBACK:]
