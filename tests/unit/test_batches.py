"""How much goes into one call to Redis: it has to pass a slow line before its answer is given up."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_finisher import MAX_BATCH, Finisher
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_portions import CALL_BYTES, portions
from yadtq.core.yadtq_report import MOST_LINE, Report
from yadtq.core.yadtq_result_db import Reply
from yadtq.core.yadtq_task import Outcome, OutcomeKind, Task


def ended(result: int) -> Delivery:
    made = Delivery(PartitionState(("tasks", 0), "default"), 0, None, b"", None, 0)
    made.task, made.token = Task("t", "add", (), {}), str(id(made))
    made.outcome = Outcome(OutcomeKind.SUCCESS, b"x" * result)
    return made


@pytest.mark.parametrize("part", [1, 4, 400])
def test_portions_are_bounded(part: int) -> None:
    """Each item once, in order; one larger than the bound goes alone."""
    size = CALL_BYTES * 2 // part
    items = list(range({1: 2, 4: 8, 400: 401}[part]))
    found = list(portions(items, 200, lambda _item: size))
    assert [item for portion in found for item in portion] == items
    assert all(len(portion) <= 200 for portion in found)
    assert all(len(portion) == 1 or len(portion) * size <= CALL_BYTES for portion in found)
    assert len(found) == {1: 2, 4: 4, 400: 3}[part]


@pytest.mark.parametrize("part", [1, 4, 1000])
def test_outcomes_are_written_down_in_bounded_batches(part: int) -> None:
    finisher = Finisher(Mock(), Mock(), "w", Mock())
    size = CALL_BYTES // part
    runs = [ended(size) for _ in range(2 * min(part, MAX_BATCH))]
    for run in runs:
        finisher.put(run)
    finisher.stop()
    batches = []
    more = True
    while more:
        batch, more = finisher._next_batch()
        batches.append(batch)
    assert [ended.delivery for batch in batches for ended in batch] == runs
    assert [len(batch) for batch in batches[:2]] == [min(part, MAX_BATCH)] * 2


@pytest.mark.parametrize("lengthy", ["traceback", "report"])
def test_tracebacks_and_what_runs_told_count_as_well(lengthy: str) -> None:
    store = Mock()
    store.finish.side_effect = lambda _inc, runs, **_told: Reply("era", 0, [b"OK"] * len(runs))
    finisher = Finisher(store, Lease(Mock(), Mock()), "w", Mock())
    for _ in range(MAX_BATCH):
        run = ended(10_000)
        if lengthy == "traceback":
            run.outcome = Outcome(OutcomeKind.FAILED, error="E: x", traceback="x" * 100_000)
        else:
            run.report = Report()
            for _ in range(20):
                run.report.log(0.0, "INFO", "x" * MOST_LINE)
        finisher.put(run)
    finisher.stop()
    finisher.loop()
    sizes = [sum(len(str(run)) for run in call.args[1]) + sum(map(len, call.kwargs["reports"].values()))
             for call in store.finish.mock_calls]  # fmt: skip
    assert sum(len(call.args[1]) for call in store.finish.mock_calls) == MAX_BATCH
    assert len(sizes) > 1
    assert max(sizes) < CALL_BYTES + 200_000
