"""What an emptied Redis takes along of a task that is between two attempts: what Kafka does not hold unread at that moment."""

from __future__ import annotations

import pytest

from tests.model.fleet import Fleet
from tests.model.member import Member, publish

UNSETTLED, SETTLED, WAITING, DUE, PUBLISHED = "unsettled", "settled", "waiting", "due", "published"


def fail_once(fleet: Fleet, member: Member) -> str:
    """A task whose first attempt has just failed."""
    task_id = fleet.client.submit("work", "")
    fleet.promises.accepted.add(task_id)
    publish(fleet.client._publisher)
    member.how = "error"
    for part in ("beat", "poll", "claim", "begin", "end", "finish"):
        member.do(part)
    return task_id


def status(fleet: Fleet, task_id: str) -> str:
    return fleet.world.picture().rows.get(task_id, {}).get("status", "missing")


def come_due(member: Member) -> None:
    """The next attempt waits in the outbox for the keeper to publish it."""
    member.worker._keeper.move_due()


def go_on(fleet: Fleet, member: Member) -> None:
    for _ in range(10):
        fleet.pass_time(4_000)
        member.round()


@pytest.mark.parametrize("moment", [UNSETTLED, SETTLED, WAITING, DUE, PUBLISHED])
def test_a_task_between_two_attempts_survives_where_kafka_holds_it_unread(fleet: Fleet, moment: str) -> None:
    (member,) = fleet.members
    task_id = fail_once(fleet, member)
    for _ in range(
        0 if moment == UNSETTLED else 3
    ):  # Redis answers two seconds later: the record of the first attempt is not needed
        fleet.pass_time(2_100)
        member.do("beat")
        if moment != SETTLED:
            member.do("commit")
    assert status(fleet, task_id) == "retrying"
    if moment in (DUE, PUBLISHED):
        come_due(member)
        assert status(fleet, task_id) == "queued"
    if moment == PUBLISHED:
        member.worker._keeper.sweep()
        member.do("publish")
    fleet.redis_is_emptied()
    if moment == SETTLED:
        member.do("commit")  # it has not heard yet
    go_on(fleet, member)
    lost = moment in (SETTLED, WAITING, DUE)
    assert status(fleet, task_id) == ("missing" if lost else "success")
    assert not lost or task_id in fleet.promises.excused  # docs/guarantees.md says so
    assert not fleet.promises.open(fleet.world.picture())
