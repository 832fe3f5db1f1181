"""One run to its outcome: every way in which a task can end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from yadtq import DoNotRetry, TaskCancelled, TaskTimeout, task
from yadtq.api.yadtq_registry import build_functions
from yadtq.config import load_settings
from yadtq.core.yadtq_codec import MAX_RESULT
from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_execution import MAX_TRACEBACK, Executor, describe
from yadtq.core.yadtq_pools import Slot
from yadtq.core.yadtq_task import Outcome, OutcomeKind, Reason, Task

LAST = 4  # the attempt after the default's three retries


class Mute(Exception):
    """An error whose message cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class Silent(Exception):
    """An error without a message."""


def run(
    function: Callable[..., Any],
    *args: Any,
    attempt: int = 1,
    name: str = "f",
    retries: int | None = None,
    timeout: float | None = None,
    **kwargs: Any,
) -> Outcome:
    """The outcome of one run, which must be handed on exactly once."""
    delivery = Delivery(PartitionState(("topic", 0), "default"), 0, None, b"", None, 0)
    delivery.task = Task("task-1", name, args, kwargs, retries, timeout)
    delivery.attempt, delivery.fence = attempt, 77
    ended: list[Delivery] = []
    slot: Slot[Delivery] = Slot()
    before = time.time()
    Executor(build_functions({"f": function}), load_settings({}), ended.append).execute(delivery, slot)
    assert ended == [delivery]
    assert before <= delivery.finished_at <= time.time()
    assert slot.run is None
    assert delivery.outcome is not None
    return delivery.outcome


def fail(error: BaseException) -> Callable[..., Any]:
    def failing(*_args: Any) -> None:
        raise error

    return failing


def test_an_error_of_the_workers_own_loses_the_run_and_not_the_task(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Executor, "_judge", fail(RuntimeError("unforeseen")))
    outcome = run(fail(ValueError("no")))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.LOST, Reason.WORKER_LOST)
    assert outcome.error == "its worker failed: RuntimeError: unforeseen"
    assert caplog.messages == ["a run of task f (task-1) is lost to an error of the worker's own"]


# -- success -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "data"), [(None, b"null"), (5, b"5"), ({"a": [1]}, b'{"a":[1]}'), ((1,), b"[1]")])
def test_a_result_is_kept_as_json(value: Any, data: bytes) -> None:
    assert run(lambda: value) == Outcome(OutcomeKind.SUCCESS, result=data)


def test_arguments_reach_the_function() -> None:
    assert run(lambda a, b, *, c: [a, b, c], 1, 2, c=3).result == b"[1,2,3]"


@pytest.mark.parametrize("value", [{1}, b"x", object(), float("nan"), "\ud800"])
def test_a_result_that_is_not_json_fails_without_a_retry(value: Any) -> None:
    outcome = run(lambda: value)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, Reason.ERROR)
    assert outcome.error.startswith("the result of f ")


def test_a_result_that_is_too_large_fails_and_is_not_cut() -> None:
    assert run(lambda: "x" * (MAX_RESULT - 2)).kind is OutcomeKind.SUCCESS
    outcome = run(lambda: "x" * (MAX_RESULT - 1))
    assert (outcome.kind, outcome.reason, outcome.result) == (OutcomeKind.FAILED, Reason.ERROR, b"")
    assert "1,048,577 bytes" in outcome.error


# -- errors ------------------------------------------------------------------------------------------------------


def test_an_error_is_retried_until_no_attempt_is_left() -> None:
    for attempt in range(1, LAST):
        outcome = run(fail(KeyError("a")), attempt=attempt)
        assert (outcome.kind, outcome.reason) == (OutcomeKind.RETRY, Reason.ERROR)
        assert 0 <= outcome.delay <= 2.0 ** (attempt - 1)
    last = run(fail(KeyError("a")), attempt=LAST)
    assert (last.kind, last.reason, last.error) == (OutcomeKind.FAILED, Reason.ERROR, "KeyError: 'a'")


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        RecursionError("deep"),
        MemoryError(),
        StopIteration(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_task_raises_is_its_outcome(error: BaseException) -> None:
    assert run(fail(error)).kind is OutcomeKind.RETRY
    last = run(fail(error), attempt=LAST)
    assert (last.kind, last.reason) == (OutcomeKind.FAILED, Reason.ERROR)
    assert last.error.startswith(type(error).__name__)


def test_an_error_that_cannot_be_shown_is_an_error_all_the_same() -> None:
    outcome = run(fail(Mute()), attempt=LAST)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, Reason.ERROR)
    assert outcome.error == "Mute: (its message cannot be shown)"
    assert "Mute" in outcome.traceback


def test_an_error_group_of_causes_is_shown() -> None:
    def deep() -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    outcome = run(deep, attempt=LAST)
    assert outcome.error == "ValueError: outer"
    assert "KeyError: 'inner'" in outcome.traceback


def test_the_traceback_begins_in_the_tasks_own_code_and_is_bounded() -> None:
    def here() -> None:
        raise ValueError("x" * 100_000)

    short = run(fail(ValueError("a")), attempt=LAST).traceback
    assert "failing" in short
    assert "yadtq_execution" not in short
    long = run(here, attempt=LAST).traceback
    assert len(long) == MAX_TRACEBACK


def test_do_not_retry_fails_at_once_in_its_own_words() -> None:
    outcome = run(fail(DoNotRetry("no such customer")))
    assert outcome == Outcome(OutcomeKind.FAILED, reason=Reason.ERROR, error="no such customer")
    assert run(fail(DoNotRetry())).error == "failed without a retry"


def test_no_retry_errors_fail_at_once() -> None:
    @task(no_retry=(LookupError,))
    def picky(error: str) -> None:
        raise {"key": KeyError("a"), "value": ValueError("b")}[error]

    assert run(picky, "key").kind is OutcomeKind.FAILED
    assert run(picky, "value").kind is OutcomeKind.RETRY


def test_the_submits_retries_beat_the_functions_which_beat_the_settings() -> None:
    @task(retries=1)
    def once_more() -> None:
        raise ValueError

    assert run(once_more, attempt=1).kind is OutcomeKind.RETRY
    assert run(once_more, attempt=2).kind is OutcomeKind.FAILED
    assert run(once_more, attempt=2, retries=2).kind is OutcomeKind.RETRY
    assert run(once_more, attempt=1, retries=0).kind is OutcomeKind.FAILED
    assert run(fail(ValueError()), attempt=LAST - 1).kind is OutcomeKind.RETRY


def test_an_error_without_a_message_is_its_type() -> None:
    assert describe(Silent()) == "Silent"
    assert describe(Silent("why")) == "Silent: why"


# -- time limits and cancels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("attempt", "kind"), [(1, OutcomeKind.RETRY), (LAST, OutcomeKind.FAILED)])
def test_a_time_limit_passed_counts_as_a_failed_attempt(attempt: int, kind: OutcomeKind) -> None:
    outcome = run(fail(TaskTimeout()), attempt=attempt, timeout=2.5)
    assert (outcome.kind, outcome.reason, outcome.error) == (kind, Reason.TIMEOUT, "ran longer than 2.5 s")


def test_a_task_may_raise_task_timeout_itself() -> None:
    outcome = run(fail(TaskTimeout("the other side is slow")), attempt=LAST)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, Reason.TIMEOUT)
    assert "the other side is slow" in outcome.error


@pytest.mark.parametrize(
    ("own", "asked", "expected"), [(None, None, None), (9.0, None, 9.0), (9.0, 4.0, 4.0), (None, 4.0, 4.0)]
)
def test_the_submits_time_limit_beats_the_functions(
    own: float | None, asked: float | None, expected: float | None
) -> None:
    class Watched(Slot[Delivery]):
        given: float | None = -1.0

        def begin(self, run: Delivery, timeout: float | None) -> None:
            self.given = timeout
            super().begin(run, timeout)

    function = task(timeout=own)(lambda: 1) if own else (lambda: 1)
    delivery = Delivery(PartitionState(("topic", 0), "default"), 0, None, b"", None, 0)
    delivery.task = Task("task-1", "f", timeout=asked)
    slot = Watched()
    Executor(build_functions({"f": function}), load_settings({}), lambda _d: None).execute(delivery, slot)
    assert slot.given == expected


def test_a_cancelled_run_ends_cancelled() -> None:
    assert run(fail(TaskCancelled())).kind is OutcomeKind.CANCELLED


def test_a_task_may_ignore_a_cancel_and_succeed() -> None:
    def stubborn() -> str:
        try:
            raise TaskCancelled
        except TaskCancelled:
            return "done anyway"

    assert run(stubborn).kind is OutcomeKind.SUCCESS


# -- arguments and names -----------------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_are_rejected_without_a_retry() -> None:
    outcome = run(lambda a, b: a + b, 1)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, Reason.REJECTED)
    assert "missing a required argument: 'b'" in outcome.error


def test_a_type_error_inside_a_task_is_an_error_like_any_other() -> None:
    outcome = run(lambda a, b: a + b, 1, "x")
    assert (outcome.kind, outcome.reason) == (OutcomeKind.RETRY, Reason.ERROR)
    assert outcome.error.startswith("TypeError")


def test_a_call_inside_a_task_that_does_not_fit_is_its_own_error() -> None:
    def without_arguments() -> None: ...

    def calls(a: int) -> None:
        without_arguments(a)  # type: ignore[call-arg]

    outcome = run(calls, 1)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.RETRY, Reason.ERROR)


def test_an_unknown_name_is_handed_back_with_what_is_known() -> None:
    outcome = run(lambda: 1, name="resize")
    assert (outcome.kind, outcome.reason) == (OutcomeKind.HANDBACK, Reason.UNKNOWN_TASK)
    assert outcome.error == "no worker knows resize; this one knows f"


def test_the_context_tells_of_the_run_and_is_no_argument() -> None:
    seen: list[Any] = []

    def curious(a: int, ctx: Any) -> int:
        seen.append((ctx.task_id, ctx.name, ctx.attempt, ctx.fence, ctx.cancelled))
        return a

    assert run(curious, 5, attempt=2).result == b"5"
    assert seen == [("task-1", "f", 2, 77, False)]
    assert run(curious).reason is Reason.REJECTED


def test_a_message_cannot_set_the_context() -> None:
    def curious(ctx: Any) -> str:
        return type(ctx).__name__

    assert run(curious, ctx="forged").result == b'"TaskContext"'
    assert run(curious, "forged").reason is Reason.REJECTED
