"""The oracle itself, over made-up ledgers, runs and rows: it names each breach by its line, and nothing else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults.oracle import (
    Run,
    Verdict,
    first_begin_after,
    judge_outcomes,
    judge_runs,
    longest_pause,
    longest_standstill,
    re_executions,
    read_runs,
    rejoin_delay,
    rerun_delays,
)
from tests.faults.producer import Ledger, Promise
from tests.faults.web_page import wrong_rows
from tests.faults.workers import Crew
from yadtq import TaskResult, TaskStatus

Outcomes = dict[str, set[tuple[str, Any]]]
NUMBERS = itertools.count(1)


def run(task_id: str, fence: int, *, attempt: int = 1, pid: int = 1, at: float = 0.0, ended: bool = True) -> Run:
    return Run(task_id, attempt, fence, f"w:{next(NUMBERS)}", pid, at, at + 1 if ended else None)


def row(task_id: str, result: Any = None, *, status: str = "success", reason: str | None = None) -> TaskResult:
    return TaskResult(task_id, "square", "default", TaskStatus(status), result=result, reason=reason)


def judged(
    promises: Mapping[str, Promise],
    runs: Sequence[Run],
    rows: Sequence[TaskResult],
    outcomes: Outcomes | None = None,
    uncertain: frozenset[str] = frozenset(),
) -> Verdict:
    verdict, ledger = Verdict(), Ledger(dict(promises), set(uncertain))
    judge_runs(verdict, runs, set(promises) | uncertain)
    judge_outcomes(verdict, ledger, {result.id: result for result in rows}, outcomes or {})
    return verdict


SQUARE = {"a": Promise("square", (3, 0.005))}
POISON = {"p": Promise("poison", ("exit",))}


def only(verdict: Verdict, line: str) -> str:
    """The one entry of the one line that is not empty."""
    assert set(verdict.failures()) == {line}
    (entry,) = verdict.failures()[line]
    return str(entry)


def test_what_went_well_is_clean() -> None:
    promises = {**SQUARE, **POISON, "f": Promise("flaky", (2,))}
    runs = [run("a", 5), *(run("p", fence, ended=False) for fence in (1, 2, 3)), run("f", 7), run("f", 8, attempt=2)]
    rows = [row("a", [9, 5]), row("p", status="failed", reason="worker_lost"), row("f", [4, 8])]
    verdict = judged(promises, runs, rows, {"a": {("success", 5)}})
    verdict.must_be_clean()
    assert (verdict.accepted, verdict.ended) == (3, 3)
    assert verdict.re_executed == 2  # of the poison; the flaky one's second attempt is none


@pytest.mark.parametrize("rows", [[], [row("a", status="queued")], [row("a", status="processing")]])
def test_a_task_that_has_not_ended_is_lost(rows: list[TaskResult]) -> None:
    assert only(judged(SQUARE, [], rows), "lost") == "a"


def test_a_task_whose_row_is_gone_is_lost_unless_its_end_was_heard() -> None:
    verdict = judged(SQUARE, [run("a", 5)], [], {"a": {("success", 5)}})
    verdict.must_be_clean()
    assert verdict.ended == 1


def test_a_lost_task_is_excused_where_the_fault_may_lose_it() -> None:
    verdict = judged({**SQUARE, "b": Promise("square", (1, 0.0))}, [], [])
    verdict.excuse({"b", "c"})
    assert (verdict.excused, only(verdict, "lost")) == (["b"], "a")
    assert (verdict.summary()["excused"], verdict.summary()["lost"]) == (1, 1)


def test_a_heard_end_does_not_cover_a_task_that_waits_again() -> None:
    assert only(judged(SQUARE, [run("a", 5)], [row("a", status="queued")], {"a": {("success", 5)}}), "lost") == "a"


def test_a_run_of_what_nobody_submitted_is_unexpected() -> None:
    assert only(judged({}, [run("x", 1)], []), "unexpected") == "x"
    judged({}, [run("x", 1)], [], uncertain=frozenset("x")).must_be_clean()


def test_two_outcomes_of_one_task_are_told() -> None:
    outcomes: Outcomes = {"a": {("success", 5), ("success", 6)}}
    assert "a" in only(judged(SQUARE, [run("a", 5), run("a", 6)], [row("a", [9, 6])], outcomes), "two_outcomes")


@pytest.mark.parametrize(
    ("promises", "result"),
    [
        (SQUARE, row("a", [10, 5])),
        (SQUARE, row("a", status="failed", reason="worker_lost")),
        (SQUARE, row("a", status="cancelled")),
        (POISON, row("p", [9, 5])),
        (POISON, row("p", status="failed", reason="error")),
    ],
)
def test_another_end_than_the_right_one_is_wrong(promises: dict[str, Promise], result: TaskResult) -> None:
    assert result.id in only(judged(promises, [run(result.id, 5)], [result]), "wrong")


def test_a_token_given_twice_is_told() -> None:
    runs = [run("a", 5), run("b", 6)]
    verdict = Verdict()
    judge_runs(verdict, [runs[0], runs[1]._replace(token=runs[0].token)], {"a", "b"})
    assert verdict.fences == [f"token {runs[0].token} was given 2 times"]


def test_a_fence_given_twice_is_told() -> None:
    runs = [run("a", 5, pid=1), run("a", 5, pid=2)]
    assert only(judged(SQUARE, runs, [row("a", [9, 5])]), "fences") == "fence 5 of task a was given 2 times"


def test_the_accepted_run_must_be_the_newest() -> None:
    assert "newest 6" in only(judged(SQUARE, [run("a", 5), run("a", 6)], [row("a", [9, 5])]), "fences")


def test_a_failure_names_the_lines_that_this_fault_does_not_allow() -> None:
    verdict = judged({**SQUARE, "b": Promise("square", (1, 0.0))}, [run("x", 1)], [row("a", [9, 0])])
    with pytest.raises(AssertionError, match=r"lost: 1, such as b; unexpected: 1, such as x"):
        verdict.must_be_clean()
    with pytest.raises(AssertionError, match=r"says unexpected: 1, such as x$"):
        verdict.must_be_clean("lost")
    verdict.must_be_clean("lost", "unexpected")
    assert verdict.summary()["lost"] == 1


def test_an_oracle_that_looked_too_seldom_is_not_believed() -> None:
    verdict = Verdict(samples=4, samples_due=5)
    with pytest.raises(AssertionError, match="only 4 looks at the commits of 5 due"):
        verdict.must_be_clean("lost")
    verdict.samples = 5
    verdict.must_be_clean()


def test_runs_are_read_from_all_files_by_when_they_began(tmp_path: Path) -> None:
    (tmp_path / "runs-1.log").write_text("begin b 1 7 u:9 1 20.5\nbegin c 2 5 u:8 1 10.0\nend c 2 5 u:8 1 11.0\n")
    (tmp_path / "runs-2.log").write_text("begin b 1 8 v:1 2 15.0\nend b 1 8 v:1 2 15.5\n")
    assert read_runs(tmp_path) == [
        Run("c", 2, 5, "u:8", 1, 10, 11),
        Run("b", 1, 8, "v:1", 2, 15, 15.5),
        Run("b", 1, 7, "u:9", 1, 20.5, None),
    ]


def test_a_run_that_begins_twice_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs-1.log").write_text("begin a 1 5 w:1 1 10.0\nbegin a 1 5 w:1 1 11.0\n")
    with pytest.raises(AssertionError, match="task a began twice with fence 5"):
        read_runs(tmp_path)


def test_the_time_from_a_death_to_the_next_run() -> None:
    runs = [
        run("a", 1, pid=1, at=10, ended=False),  # died with its worker
        run("b", 1, pid=1, at=9),  # had ended before
        run("c", 1, pid=2, at=10, ended=False),  # its worker lives
        run("a", 2, pid=2, at=31),
        run("a", 3, pid=2, at=40),
        run("b", 2, pid=2, at=50),
    ]
    assert rerun_delays(runs, {1: 11.5}) == [19.5]
    assert rerun_delays(runs[:1], {1: 11.5}) == []
    assert first_begin_after(runs, 10.0) == 21.0


def test_second_runs_are_counted_but_of_tasks_that_may_have_them() -> None:
    runs = [run("a", 1), run("a", 2), run("a", 3, attempt=2), run("b", 1), run("b", 2), run("b", 3)]
    assert re_executions(runs) == 3
    assert re_executions(runs, {"b"}) == 1


def test_a_worker_works_again_when_a_run_of_its_own_is_accepted() -> None:
    def delay(*runs: Run, renewed: bool = False) -> float:
        return rejoin_delay(runs, {"new": row("new", [9, 7])}, 1, 10.0, renewed=renewed)

    def old(task_id: str, fence: int, at: float) -> Run:
        return run(task_id, fence, at=at)._replace(token="old:1")

    assert delay(old("new", 7, at=13)) == 3
    assert delay(old("new", 7, at=9)) == math.inf
    assert delay(run("new", 6, at=13)) == math.inf  # its outcome was refused
    assert delay(run("other", 7, at=13)) == math.inf  # not of a task that counts
    assert delay(run("new", 7, at=13, pid=2)) == math.inf
    assert delay(old("other", 1, at=9), old("new", 7, at=13), renewed=True) == math.inf
    assert delay(old("other", 1, at=9), run("new", 7, at=13), renewed=True) == 3


def test_the_longest_time_a_partition_stood_still_while_a_task_waited() -> None:
    def found(*tasks: tuple[int, float, float]) -> float:
        """Tasks as (partition, submitted at, begun at)."""
        runs = [run(str(number), 1, at=begun) for number, (_, _, begun) in enumerate(tasks)]
        rows = {
            str(number): TaskResult(
                str(number), "square", "default", TaskStatus.SUCCESS, partition=partition, submitted_at=submitted
            )
            for number, (partition, submitted, _) in enumerate(tasks)
        }
        return longest_standstill(sorted(runs, key=lambda each: each.begun_at), rows)

    assert found((0, 1, 2)) == 1
    assert found((0, 1, 2), (0, 50, 51)) == 1  # nothing waited in between
    assert found((0, 1, 2), (0, 3, 51), (0, 50, 52)) == 48
    assert found((0, 1, 40), (0, 2, 3), (0, 30, 31)) == 28  # from 3 to 31 the first one waited
    assert found((0, 1, 2), (1, 3, 20), (0, 4, 5)) == 17  # each partition by itself


def test_the_longest_pause_between_two_ends() -> None:
    assert longest_pause([9.0, 2.0, 3.0]) == 6.0
    assert longest_pause([9.0]) == 0.0


def test_tracebacks_are_found_unless_a_task_raised_them_on_purpose(tmp_path: Path) -> None:
    crew = Crew(tmp_path, {})
    log = tmp_path / "w1.log"
    crew.all.append(SimpleNamespace(name="w1", log=log))  # type: ignore[arg-type]
    injected = 'Traceback (most recent call last):\n  File "t.py", line 1, in flaky\n__main__.Injected: on purpose\n'
    log.write_text(f"started\n{injected}went on\n")
    assert crew.tracebacks() == []
    real = 'Traceback (most recent call last):\n  File "e.py", line 2, in loop\n    x.y\n    ^^^\nAttributeError: y\n'
    log.write_text(f"{injected}{real}a retry after Injected: on purpose\n{injected}")
    (found,) = crew.tracebacks()
    assert "AttributeError: y" in found


def seen(*tasks: tuple[str, int, str]) -> dict[str, TaskResult]:
    """Tasks as Redis holds them, by id, change and state; ``a`` is the first that was submitted, ``b`` the second."""
    return {
        task_id: TaskResult(task_id, "square", "default", TaskStatus(status), seq=seq, submitted_at=float(ord(task_id)))
        for task_id, seq, status in tasks
    }


@pytest.mark.parametrize(
    ("shown", "wrong"),
    [
        ({"b": (4, "processing"), "c": (3, "queued")}, []),
        ({"b": (6, "success"), "c": (3, "queued")}, []),  # it has moved on since the first look
        ({"b": (5, "processing"), "c": (3, "queued")}, []),  # it was so between the two
        ({"b": (2, "queued"), "c": (3, "queued")}, ["b"]),  # it is behind
        ({"b": (7, "success"), "c": (3, "queued")}, ["b"]),  # it is ahead: Redis has gone back
        ({"b": (6, "failed"), "c": (3, "queued")}, ["b"]),
        ({"b": (4, "processing"), "c": (3, "queued"), "x": (5, "queued")}, ["x"]),  # Redis has lost it
        ({"b": (4, "processing")}, ["c"]),
        ({"c": (3, "queued")}, []),  # the older one has left the page
        ({}, ["b", "c"]),
    ],
)
def test_a_table_may_be_a_moment_behind_and_nothing_else(shown: dict[str, tuple[int, str]], wrong: list[str]) -> None:
    before = seen(("b", 4, "processing"), ("c", 3, "queued"))
    after = seen(("b", 6, "success"), ("c", 3, "queued"))
    assert wrong_rows(shown, ["b", "c"], before, after) == wrong
