"""A Redis that comes back without its last second, in which a run had ended, long after it went."""

from __future__ import annotations

import pytest

from tests.model.fleet import Fleet


@pytest.mark.parametrize("first", ["beat", "poll", "keep", "claim"])
@pytest.mark.parametrize("away", [1_000, 40_000])
def test_a_run_whose_end_was_forgotten_has_one_outcome_whatever_meets_redis_first(
    fleet: Fleet, first: str, away: int
) -> None:
    member, task_id = fleet.begin_one()
    fleet.fsync()
    member.do("end")
    member.do("finish")
    outcome = fleet.world.picture().rows[task_id]["result"]
    fleet.redis_goes_back()
    assert fleet.world.picture().rows[task_id]["status"] == "processing"
    fleet.pass_time(away)
    member.do(first)
    for _ in range(10):
        member.round()
        fleet.pass_time(4_000)
    row = fleet.world.picture().rows[task_id]
    assert (row["status"], row["result"], row["gen"]) == ("success", outcome, "1")
    assert len(fleet.promises._started) == 1, "it ran again"
