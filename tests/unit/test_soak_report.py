"""The soak's report: whatever did not hold shows as not passed, in its row and in the sums on top."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults import report
from tests.faults.oracle import Verdict
from tests.faults.report import Figure, Proof, Record, kept, render, write_record


def trial(*figures: Figure, passed: bool = True, **summary: Any) -> Record:
    counts = {"accepted": 100, "ended": 100, "re_executed": 7, "samples": 50, **summary}
    return Record("test_1_workers_die", 42, passed, 1e9, counts, 3, [*figures], [], [])


GOOD = trial(Figure("seconds from a death to a run", 3.25, 35, recovery=True), Figure("re-executions", 7, 8))
PROOF = Proof("watermark", "a_worker_stops", "too_early", 1e9, seen=True)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Renders records and proofs; its lines."""
    monkeypatch.setattr(report, "_commit", lambda: "abc1234")
    return lambda *records, proofs=(PROOF,): render(records, proofs, "make soak").splitlines()


def test_what_held_has_passed(page: Any) -> None:
    lines = page(GOOD, GOOD)
    assert "- Trials passed: 2 of 2" in lines
    assert "- Guards whose absence the oracle saw: 1 of 1" in lines
    assert "- Tasks accepted: 200, lost: 0, unexpected: 0, two outcomes: 0" in lines
    assert "- Seeds: 42, 42" in lines
    zeros = " | ".join("0" for _ in Verdict.LINES)
    assert f"| 1 workers die | 42 | 100 | 100 | 0 | {zeros} | 7 | 50 | 3 | 0 | 3.25 | yes |" in lines
    assert "| 1 workers die | 42 | re-executions | 7 | 8 |" in lines
    assert "| watermark | a worker stops | `too_early` | yes |" in lines
    assert not any("**no**" in line for line in lines)


@pytest.mark.parametrize(
    "bad",
    [
        trial(passed=False),
        trial(Figure("seconds", 35.1, 35)),
        trial(Figure("seconds", math.inf, 35)),
        *(trial(**{line: 1}) for line in Verdict.LINES),
    ],
)
def test_what_did_not_hold_has_not_passed(page: Any, bad: Record) -> None:
    assert not bad.good
    lines = page(GOOD, bad)
    assert "- Trials passed: 1 of 2" in lines
    (row,) = [line for line in lines if "**no**" in line]
    assert row.startswith("| 1 workers die | 42 | 100 |")


def test_lost_tasks_show_on_top(page: Any) -> None:
    assert "- Tasks accepted: 300, lost: 2, unexpected: 0, two outcomes: 1" in page(
        GOOD, trial(lost=2), trial(two_outcomes=1)
    )


def test_a_guard_whose_absence_was_not_seen_has_not_passed(page: Any) -> None:
    lines = page(GOOD, proofs=(PROOF, replace(PROOF, guard="settle", seen=False)))
    assert "- Guards whose absence the oracle saw: 1 of 2" in lines
    (row,) = [line for line in lines if "**no**" in line]
    assert row == "| settle | a worker stops | `too_early` | **no** |"


def test_a_figure_of_which_nothing_is_promised_holds_whatever_it_is(page: Any) -> None:
    told = trial(Figure("longest pause", 40.0))
    assert told.good
    assert "| 1 workers die | 42 | longest pause | 40 | – |" in page(told)
    assert told.recovery is None


def test_records_and_proofs_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_record(tmp_path, GOOD)
    assert [Record.read(path) for path in tmp_path.glob("*.json")] == [GOOD]
    with kept(replace(PROOF, seen=False), tmp_path):
        pass
    with pytest.raises(ZeroDivisionError), kept(replace(PROOF, guard="settle", seen=False), tmp_path):
        _ = 1 / 0
    proofs = map(Proof.read, (tmp_path / report.GUARDS).glob("*.json"))
    assert {proof.guard: proof.seen for proof in proofs} == {"watermark": True, "settle": False}
