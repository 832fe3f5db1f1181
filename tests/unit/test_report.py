"""What a running task tells: bounded, in its own thread, and nothing that could break the task."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest

from yadtq.core.yadtq_execution import TaskContext
from yadtq.core.yadtq_pools import Slot
from yadtq.core.yadtq_report import MOST_BYTES, MOST_LINE, MOST_LINES, Report, capture
from yadtq.core.yadtq_task import Task

log = logging.getLogger("a.task")


def read(report: Report | None, attempt: int = 1) -> dict[str, Any]:
    assert report is not None
    return dict(json.loads(report.to_json(attempt)))


def texts(report: Report | None) -> list[str]:
    return [text for _, _, text in read(report)["lines"]]


@pytest.fixture
def slot() -> Any:
    """This thread runs a task."""
    made: Slot[Any] = Slot()
    made.begin(object(), None)
    capture.install()
    capture.threads[threading.get_ident()] = made
    yield made
    capture.threads.pop(threading.get_ident())


def test_only_the_newest_lines_stay_and_it_is_known_how_many_there_were() -> None:
    report = Report()
    for number in range(MOST_LINES + 50):
        report.log(float(number), "INFO", f"line {number}")
    found = read(report, attempt=3)
    assert (found["attempt"], found["said"], len(found["lines"])) == (3, MOST_LINES + 50, MOST_LINES)
    assert found["lines"][-1] == [MOST_LINES + 49.0, "INFO", f"line {MOST_LINES + 49}"]


@pytest.mark.parametrize("letter", ["x", "ü", "\N{SNOWMAN}", "\U0001f600", "\x00", '"'])
def test_the_lines_never_take_more_than_their_bytes_whatever_is_in_them(letter: str) -> None:
    report = Report()
    for number in range(100):
        report.log(0.0, "INFO", f"{number} " + letter * 10 * MOST_LINE)
    assert len(report.to_json(1)) < MOST_BYTES + 200
    assert texts(report)[-1].startswith("99 ")


def test_a_long_line_keeps_its_beginning_and_its_end() -> None:
    report = Report()
    report.log(0.0, "INFO", "begin" + "x" * 10_000 + "end")
    (text,) = texts(report)
    assert (text[:6], text[-4:], len(text)) == ("beginx", "xend", MOST_LINE)


def test_half_a_character_does_no_harm() -> None:
    report = Report()
    report.log(0.0, "INFO", "a\udc80b")
    report.progress(0.0, 1, None, "x")
    assert texts(report) == ["a?b"]


def test_records_of_the_tasks_thread_are_told_and_others_are_not(
    slot: Slot[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    log.info("%d rows", 3)
    log.debug("not enabled")
    asyncio.run(_in_a_loop())
    other = threading.Thread(target=log.info, args=("elsewhere",))
    other.start()
    other.join()
    assert texts(slot.report) == ["3 rows", "in a loop"]
    assert "elsewhere" in caplog.messages  # nothing is taken away from the program's own handlers


async def _in_a_loop() -> None:
    log.info("in a loop")


def test_an_error_is_told_with_its_traceback_and_wrong_arguments_break_nothing(slot: Slot[Any]) -> None:
    silent = logging.Logger("silent")  # noqa: LOG001 -- without handlers, which would complain of the wrong arguments
    silent.addHandler(logging.NullHandler())
    try:
        raise ValueError("no such file")
    except ValueError:
        silent.exception("part %d failed", 3)
    silent.warning("%d", "no number")
    first, second = texts(slot.report)
    assert first.startswith("part 3 failed\nTraceback")
    assert first.endswith("ValueError: no such file")
    assert second == "%d"


def test_between_two_runs_nothing_is_told(slot: Slot[Any]) -> None:
    slot.end()
    log.warning("between")
    assert slot.report is None


def test_progress_belongs_to_the_run_that_tells_it() -> None:
    slot: Slot[Any] = Slot()
    first, second = _Run(), _Run()
    slot.begin(first, None)
    context = TaskContext(Task("t", "add"), first, slot)
    context.progress(3, 10, "part 1")
    assert read(slot.report)["progress"][1:] == [3, 10, "part 1"]
    slot.end()
    slot.take_report()
    slot.begin(second, None)
    context.progress(10, 10)  # a thread that the first run left behind
    assert slot.report is None


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("x",), TypeError), ((None,), TypeError), ((1, "y"), TypeError), ((float("nan"),), ValueError)],
)
def test_what_is_no_number_is_refused_with_a_sentence(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    slot: Slot[Any] = Slot()
    run = _Run()
    slot.begin(run, None)
    with pytest.raises(error, match=r"ctx.progress: (done|total) must be"):
        TaskContext(Task("t", "add"), run, slot).progress(*arguments)


class _Run:
    attempt = 1
    fence = 1
