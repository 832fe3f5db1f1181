"""A worker that runs a suspect, step by step: what it claims, when its partitions go to others, and when it is back."""

from __future__ import annotations

import pytest

from tests.model.fleet import Fleet
from tests.model.member import Member, publish
from yadtq.api.yadtq_worker import KEEP_ALONE
from yadtq.core.yadtq_claimer import DRAIN_FOR
from yadtq.core.yadtq_intake import DETACH_AFTER

WORK = ("beat", "poll", "claim", "begin")
FINISH = ("end", "finish", "commit")


def submit(fleet: Fleet, *, suspect: bool = False) -> str:
    task_id = fleet.client.submit("work", "")
    fleet.promises.accepted.add(task_id)
    if suspect:
        fleet.suspect(task_id)
    publish(fleet.client._publisher)
    return task_id


def do(member: Member, *parts: str) -> None:
    for part in parts:
        member.do(part)


def live(fleet: Fleet, seconds: float, *parts: str) -> None:
    """Time passes for all, who do this as they go."""
    for _ in range(int(seconds // 4) + 1):
        fleet.pass_time(4_000)
        fleet.nobodys_partitions_are_given_out()
        for member in fleet.members:
            do(member, *parts)


def statuses(fleet: Fleet, ids: list[str]) -> set[str]:
    rows = fleet.world.picture().rows
    return {rows[task_id]["status"] for task_id in ids}


def holder_and_other(fleet: Fleet) -> tuple[Member, Member]:
    """One that runs a suspect, has all partitions, and tasks waiting in them; and one that has nothing."""
    (holder,) = fleet.members
    submit(fleet, suspect=True)
    do(holder, *WORK)
    assert len(holder.begun) == 1
    return holder, fleet.join()


def test_the_partitions_of_a_worker_whose_suspect_runs_long_go_to_others_until_it_has_ended(fleet: Fleet) -> None:
    holder, other = holder_and_other(fleet)
    waits = [submit(fleet) for _ in range(4)]
    live(fleet, KEEP_ALONE, *WORK)
    assert holder.consumer is None
    live(fleet, 20, *WORK)
    assert set(fleet.log.owner.values()) == {other.consumer}
    for _ in waits:
        do(other, *FINISH, *WORK)
    assert (statuses(fleet, waits), len(holder.begun)) == ({"success"}, 1)
    live(fleet, DETACH_AFTER, *WORK, "commit")
    assert fleet.log.committed == {position: len(entries) for position, entries in fleet.log.entries.items()}
    do(holder, *FINISH, "poll")
    assert holder.consumer is not None
    fleet.partitions_move()
    assert holder.consumer in fleet.log.owner.values()
    more = [submit(fleet) for _ in range(4)]
    live(fleet, 20, *WORK, *FINISH)
    assert statuses(fleet, more) == {"success"}


def test_a_worker_whose_suspect_ends_soon_stays(fleet: Fleet) -> None:
    holder, _ = holder_and_other(fleet)
    consumer = holder.consumer
    live(fleet, KEEP_ALONE - 4, *WORK)
    do(holder, *FINISH)
    live(fleet, 2 * KEEP_ALONE, *WORK)
    assert holder.consumer is consumer


def test_others_wait_for_a_row_of_suspects_no_longer_than_for_one(fleet: Fleet) -> None:
    """Each of them ends soon, and all of them together do not."""
    (holder,) = fleet.members
    ids = [submit(fleet, suspect=True) for _ in range(8)]
    do(holder, *WORK)
    stayed = 0.0
    while holder.consumer is not None and stayed < 2 * KEEP_ALONE:
        fleet.pass_time(4_000)
        stayed += 4
        do(holder, *FINISH, "claim", "begin", "poll")
    assert KEEP_ALONE < stayed < KEEP_ALONE + 4
    live(fleet, 30, *FINISH, *WORK)
    assert statuses(fleet, ids) == {"success"}


def test_the_time_begins_anew_when_something_else_was_claimed(fleet: Fleet) -> None:
    (holder,) = fleet.members
    consumer = holder.consumer
    ids = [submit(fleet, suspect=True)]
    do(holder, *WORK)
    ids.append(submit(fleet))
    fleet.pass_time(8_000)
    do(holder, *FINISH, *WORK)
    ids.append(submit(fleet, suspect=True))
    do(holder, "poll", "claim", *FINISH, "claim", "begin")
    assert statuses(fleet, ids[:2]) == {"success"}
    assert len(holder.begun) == 1
    fleet.pass_time(8_000)
    do(holder, "poll")
    assert holder.consumer is consumer
    fleet.pass_time(4_000)
    do(holder, "poll")
    assert holder.consumer is None


def test_the_time_begins_anew_when_nothing_waited(fleet: Fleet) -> None:
    (holder,) = fleet.members
    consumer = holder.consumer
    for _ in range(2):
        submit(fleet, suspect=True)
        do(holder, *WORK)
        assert len(holder.begun) == 1
        fleet.pass_time(8_000)
        do(holder, "poll")
        assert holder.consumer is consumer
        do(holder, *FINISH, "claim")


def test_nothing_is_claimed_beside_a_suspect_and_redis_is_not_asked(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, _ = holder_and_other(fleet)
    for _ in range(4):
        submit(fleet)
    do(holder, "poll")
    received = holder.worker._intake.waiting()
    assert received
    monkeypatch.setattr(holder.worker._store, "claim", None)
    for _ in range(10):
        do(holder, "claim")
    assert holder.worker._intake.waiting() == received


def test_a_worker_that_drains_for_a_suspect_stays(fleet: Fleet) -> None:
    (holder,) = fleet.members
    submit(fleet)
    do(holder, *WORK)
    submit(fleet, suspect=True)
    live(fleet, 2 * DRAIN_FOR, *WORK)
    assert (holder.consumer is not None, len(holder.begun)) == (True, 1)
    waits = submit(fleet)
    do(holder, *WORK, *FINISH, *FINISH)
    assert statuses(fleet, [waits]) == {"success"}


def test_a_suspect_that_redis_takes_for_one_of_several_is_asked_for_again_in_a_while(fleet: Fleet) -> None:
    """Redis has a run of this worker that the worker does not have; until a beat tells it, the claimer must not spin."""
    (holder,) = fleet.members
    fleet.world.plain.sadd(fleet.world.key("run:", holder.worker._lease.inc), "ghost")
    suspect = submit(fleet, suspect=True)
    do(holder, "poll")
    worked = [holder.worker._claimer.step() for _ in range(20)]
    assert worked.count(True) == 2  # with the others, then alone
    live(fleet, 4, *WORK)
    do(holder, *FINISH)
    assert statuses(fleet, [suspect]) == {"success"}
