"""A Redis that comes back without its last second, in which a run had ended, long after it went."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.model.fleet import Fleet
from tests.model.member import publish
from yadtq.embedded import EmbeddedRedis


@pytest.fixture
def fleet(redis_server: EmbeddedRedis) -> Iterator[Fleet]:
    made = Fleet(redis_server.url, f"b{uuid.uuid4().hex[:8]}:")
    yield made
    made.close()


@pytest.mark.parametrize("first", ["beat", "poll", "keep", "claim"])
@pytest.mark.parametrize("away", [1_000, 40_000])
def test_a_run_whose_end_was_forgotten_has_one_outcome_whatever_meets_redis_first(
    fleet: Fleet, first: str, away: int
) -> None:
    (member,) = fleet.members
    task_id = fleet.client.submit("work", "")
    publish(fleet.client._publisher)
    for part in ("beat", "poll", "claim", "begin"):
        member.do(part)
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
