"""One task through named steps to an Outcome: resolve, run, judge, encode."""

from __future__ import annotations

import inspect
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from yadtq.config import Settings
from yadtq.core.yadtq_codec import MAX_RESULT, dumps
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_pools import Slot
from yadtq.core.yadtq_retry import RetryPolicy
from yadtq.core.yadtq_task import Outcome, OutcomeKind, Reason, Task
from yadtq.errors import DoNotRetry, TaskCancelled, TaskNotSerializable, TaskTimeout

logger = logging.getLogger(__name__)

CONTEXT_NAME = "ctx"  # a parameter of this name is given the TaskContext
MAX_TRACEBACK = 16_384  # characters


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

    def __init__(self, delivery: Delivery, task: Task, slot: Slot[Delivery]) -> None:
        self.task_id = task.id
        self.name = task.name
        self.attempt = delivery.attempt  # from 1
        self.fence = delivery.fence  # rises with every run of this task: a guard for outside effects
        self._slot = slot

    @property
    def cancelled(self) -> bool:
        """Whether a person has asked this run to stop."""
        return self._slot.cancelled


class Executor:
    """Runs deliveries with a worker's functions."""

    def __init__(
        self, functions: Mapping[str, TaskFunction], settings: Settings, ended: Callable[[Delivery], None]
    ) -> None:
        self._functions = functions
        self._settings = settings
        self._ended = ended

    def execute(self, delivery: Delivery, slot: Slot[Delivery]) -> None:
        """Run one delivery to its outcome and hand it on; raises nothing of the task's."""
        task = delivery.task
        assert task is not None  # only read records are claimed
        delivery.begun_at = time.time()
        function = self._functions.get(task.name)
        if function is None:
            delivery.outcome = self._hand_back(task)
        else:
            delivery.outcome = self._run(function, task, delivery, slot)
        delivery.finished_at = time.time()
        self._ended(delivery)

    def _hand_back(self, task: Task) -> Outcome:
        known = ", ".join(sorted(self._functions)) or "none"
        return Outcome(
            OutcomeKind.HANDBACK,
            reason=Reason.UNKNOWN_TASK,
            error=f"no worker knows {task.name}; this one knows {known}",
        )

    def _run(self, function: TaskFunction, task: Task, delivery: Delivery, slot: Slot[Delivery]) -> Outcome:
        timeout = function.timeout if task.timeout is None else task.timeout
        kwargs = (
            {**task.kwargs, CONTEXT_NAME: TaskContext(delivery, task, slot)} if function.wants_context else task.kwargs
        )
        try:
            slot.begin(delivery, timeout)
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
            return self._judge(function, task, delivery.attempt, error, timeout)

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

    def _policy(self, function: TaskFunction, task: Task) -> RetryPolicy:
        retries = next(n for n in (task.retries, function.retries, self._settings.retries) if n is not None)
        return RetryPolicy(retries, self._settings.retry_backoff, self._settings.retry_backoff_max, function.no_retry)


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
