"""The promises see a second outcome after Redis went back, and excuse it only where the documents do."""

from __future__ import annotations

import pytest

from tests.model.fleet import Fleet
from tests.model.member import Member, publish
from yadtq.core.yadtq_lease import REMEMBER, Lease


def end_one(fleet: Fleet) -> Member:
    """A task that has ended, and still runs by what is on Redis' disk."""
    member, _ = fleet.begin_one()
    fleet.fsync()
    for part in ("end", "finish"):
        member.do(part)
    return member


def go_on(fleet: Fleet) -> None:
    for _ in range(12):
        fleet.pass_time(4_000)
        fleet.nobodys_partitions_are_given_out()
        for member in fleet.members:
            member.round()


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that remember nothing of what they finished."""
    monkeypatch.setattr(Lease, "take_recent", lambda lease: [])


@pytest.mark.parametrize("event", ["redis_goes_back", "redis_is_emptied"])
@pytest.mark.usefixtures("forgetful")
def test_a_second_outcome_from_a_worker_that_lives_is_seen(fleet: Fleet, event: str) -> None:
    end_one(fleet)
    getattr(fleet, event)()
    with pytest.raises(AssertionError, match="two accepted outcomes"):
        go_on(fleet)


@pytest.mark.parametrize("event", ["redis_goes_back", "redis_is_emptied"])
def test_a_second_outcome_where_the_worker_died_as_well_is_excused(fleet: Fleet, event: str) -> None:
    member = end_one(fleet)
    fleet.join()
    getattr(fleet, event)()
    fleet.bury(member)
    go_on(fleet)
    assert len(fleet.promises._started) == 2


@pytest.mark.parametrize("has", ["its partition", "another record"])
@pytest.mark.parametrize("event", ["redis_goes_back", "redis_is_emptied"])
def test_another_worker_that_is_faster(fleet: Fleet, event: str, has: str) -> None:
    """It claims the record before the worker that has run it told the new Redis."""
    (member,) = fleet.members
    member.do("beat")
    fleet.log.fates.append("twice" if has == "another record" else "ack")
    fleet.client.submit("work", "")
    other = fleet.join()
    fleet.fsync()
    publish(fleet.client._publisher)
    for part in ("poll", "claim", "begin", "end", "finish"):
        member.do(part)
    (position,) = [position for position, entries in fleet.log.entries.items() if entries]
    fleet.log.give(position, other.consumer, told=True)
    if has == "another record":
        fleet.log.committed[position] = 1
    getattr(fleet, event)()
    for part in ("beat", "poll", "claim", "begin", "end", "finish"):
        other.do(part)
    go_on(fleet)
    assert len(fleet.promises._started) == 2


def test_a_second_outcome_of_what_ended_long_before_redis_was_emptied_is_excused(fleet: Fleet) -> None:
    end_one(fleet)
    fleet.pass_time(int(REMEMBER * 1000) + 1000)
    fleet.members[0].do("beat")
    fleet.redis_is_emptied()
    go_on(fleet)
    assert len(fleet.promises._started) == 2
