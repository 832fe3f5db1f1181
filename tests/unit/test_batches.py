"""How much goes into one call to Redis: it has to pass a slow line before its answer is given up."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_finisher import MAX_BATCH, MAX_BATCH_BYTES, Finisher
from yadtq.core.yadtq_recovery import BATCH, BATCH_BYTES, _batches
from yadtq.core.yadtq_task import Outcome, OutcomeKind


def delivery(body: int = 0, result: int = 0) -> Delivery:
    made = Delivery(PartitionState(("tasks", 0), "default"), 0, None, b"x" * body, None, 0)
    made.outcome = Outcome(OutcomeKind.SUCCESS, b"x" * result)
    return made


@pytest.mark.parametrize("part", [1, 4, 400])
def test_what_is_told_again_goes_in_bounded_batches(part: int) -> None:
    """Each run once, in order; a run larger than the bound goes alone."""
    size = BATCH_BYTES * 2 // part
    runs = [delivery(body=size) for _ in range({1: 2, 4: 8, 400: 2 * BATCH + 1}[part])]
    batches = list(_batches(runs))
    assert [run for batch in batches for run in batch] == runs
    assert all(len(batch) <= BATCH for batch in batches)
    assert all(len(batch) == 1 or len(batch) * size <= BATCH_BYTES for batch in batches)
    assert len(batches) == {1: 2, 4: 4, 400: 3}[part]


@pytest.mark.parametrize("part", [1, 4, 1000])
def test_outcomes_are_written_down_in_bounded_batches(part: int) -> None:
    finisher = Finisher(Mock(), Mock(), "w", Mock())
    size = MAX_BATCH_BYTES // part
    runs = [delivery(result=size) for _ in range(2 * min(part, MAX_BATCH))]
    for run in runs:
        finisher.put(run)
    finisher.stop()
    batches = []
    more = True
    while more:
        batch, more = finisher._next_batch()
        batches.append(batch)
    assert [run for batch in batches for run in batch] == runs
    assert [len(batch) for batch in batches[:2]] == [min(part, MAX_BATCH)] * 2
