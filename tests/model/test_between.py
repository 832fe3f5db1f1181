"""Redis goes back between its answer and what the worker makes of it: the answer counts for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.model.fleet import Fleet
from tests.model.member import Member, publish
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_result_db import Reply

EVENTS = pytest.mark.parametrize("event", ["redis_goes_back", "redis_is_emptied", "redis_restarts"])


def run_to_its_end(fleet: Fleet) -> tuple[Member, str]:
    """A task that has ended, and still runs by what is on Redis' disk."""
    member, task_id = fleet.begin_one()
    fleet.fsync()
    member.do("end")
    return member, task_id


def begin_what_waits_by_the_disk(fleet: Fleet, **options: float) -> tuple[Member, str]:
    """A task that runs, and waits in the outbox by what is on Redis' disk."""
    (member,) = fleet.members
    member.do("beat")
    task_id = fleet.client.options(**options).submit("work", "")
    fleet.fsync()
    publish(fleet.client._publisher)
    for part in ("poll", "claim", "begin"):
        member.do(part)
    return member, task_id


def retry_what_failed(fleet: Fleet, far: str) -> tuple[Member, str]:
    """A failed task that a person retries within the second that is lost; ``far``: how far the new run comes in it."""
    member, task_id = fleet.begin_one()
    member.how = "final"
    for part in ("end", "finish"):
        member.do(part)
    fleet.fsync()
    fleet.promises.retried = {task_id}
    assert fleet.client.retry(task_id)
    parts = ("keep", "publish", "poll", "claim", "begin", "end", "finish")
    for part in parts[: {"published": 2, "running": 5, "ended": 7}[far]]:
        member.do(part)
    fleet.promises.retried = set()
    return member, task_id


def ran_once(fleet: Fleet, member: Member, task_id: str) -> bool:
    for _ in range(8):
        fleet.pass_time(4_000)
        member.round()
    return fleet.world.picture().rows[task_id]["status"] == "success" and len(fleet.promises._started) == 1


@EVENTS
def test_a_run_whose_end_redis_has_forgotten_is_ended_again_and_not_run_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    member, task_id = run_to_its_end(fleet)
    lease = member.worker._lease
    ask = lease.ask

    def ask_and_lose(call: Callable[[], Reply]) -> Reply:
        monkeypatch.undo()
        reply = ask(call)
        getattr(fleet, event)()
        member.worker._heartbeat.beat()  # another thread hears of it first
        return reply

    monkeypatch.setattr(lease, "ask", ask_and_lose)
    member.do("finish")
    assert ran_once(fleet, member, task_id)


@EVENTS
def test_an_answer_of_a_redis_that_had_not_been_told_yet_is_not_used(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    """It refuses the outcome of a run that it has forgotten; when the answer is looked at, it has heard of the run."""
    member, task_id = run_to_its_end(fleet)
    store = member.worker._store
    finish = store.finish

    def finish_and_wait(*args: Any, **options: Any) -> Reply:
        monkeypatch.undo()
        getattr(fleet, event)()
        reply = finish(*args, **options)
        fleet.pass_time(100)
        member.worker._heartbeat.beat()
        return reply

    monkeypatch.setattr(store, "finish", finish_and_wait)
    member.do("finish")
    assert ran_once(fleet, member, task_id)


@EVENTS
def test_a_run_that_is_told_again_after_its_expiry_has_begun_in_time(fleet: Fleet, event: str) -> None:
    member, task_id = begin_what_waits_by_the_disk(fleet, expires=5)
    getattr(fleet, event)()
    fleet.pass_time(6_000)
    member.do("beat")
    assert ran_once(fleet, member, task_id)


def test_a_record_published_anew_is_not_claimed_before_redis_knows_that_it_ran(fleet: Fleet) -> None:
    """Another worker's sweep is the first that Redis hears."""
    member, task_id = begin_what_waits_by_the_disk(fleet)
    for part in ("end", "finish"):
        member.do(part)
    fleet.redis_goes_back()
    fleet.pass_time(21_000)
    sweeper = fleet.join()
    sweeper.do("keep")
    sweeper.do("publish")
    member.do("poll")
    member.do("claim")
    assert ran_once(fleet, member, task_id)


@EVENTS
def test_no_record_is_read_again_before_redis_knows_that_it_ran(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    member, task_id = run_to_its_end(fleet)
    member.do("finish")
    recovery, intake = member.worker._recovery, member.worker._intake
    claim_again = recovery._claim_again

    def read_and_claim_again(*args: Any) -> None:
        for _ in range(2):
            member.worker._poller.step()
        assert not intake.waiting()
        claim_again(*args)

    monkeypatch.setattr(recovery, "_claim_again", read_and_claim_again)
    getattr(fleet, event)()
    member.do("beat")
    assert ran_once(fleet, member, task_id)


@EVENTS
def test_a_run_granted_by_a_redis_that_is_gone_is_asked_for_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    """The next Redis is told what runs before the claimer has noted that it does; then the record would be claimed anew."""
    (member,) = fleet.members
    member.do("beat")
    task_id = fleet.client.submit("work", "")
    publish(fleet.client._publisher)
    member.do("poll")
    fleet.fsync()
    lease = member.worker._lease
    ask = lease.ask

    def ask_and_lose(call: Callable[[], Reply]) -> Reply:
        monkeypatch.undo()
        reply = ask(call)
        getattr(fleet, event)()
        member.worker._heartbeat.beat()  # another thread hears of it first
        return reply

    monkeypatch.setattr(lease, "ask", ask_and_lose)
    member.do("claim")
    member.do("begin")
    assert ran_once(fleet, member, task_id)


@pytest.mark.parametrize("told_to_end", [0, 1])
@EVENTS
def test_a_worker_that_leaves_tells_a_redis_that_went_back_what_has_ended(
    fleet: Fleet, event: str, told_to_end: int
) -> None:
    """By the rows of the new one it still runs what it is about to leave behind."""
    member, task_id = run_to_its_end(fleet)
    member.do("finish")
    for _ in range(told_to_end):  # and its finisher's thread had given up before
        member.worker._finisher.stop()
    heir = fleet.join()
    getattr(fleet, event)()
    member.worker._leave()
    fleet.bury(member)
    fleet.nobodys_partitions_are_given_out()
    assert ran_once(fleet, heir, task_id)


@pytest.mark.parametrize("first", ["beat", "poll", "keep", "claim"])
@pytest.mark.parametrize("far", ["published", "running", "ended"])
def test_a_retry_by_a_person_that_redis_has_forgotten_goes_on(fleet: Fleet, far: str, first: str) -> None:
    member, task_id = retry_what_failed(fleet, far)
    fleet.redis_goes_back()
    assert fleet.world.picture().rows[task_id]["status"] == "failed"
    member.do(first)
    for _ in range(8):
        fleet.pass_time(4_000)
        member.round()
    row = fleet.world.picture().rows[task_id]
    assert (row["status"], row["attempt"]) == ("success", "1")
    assert not {"reason", "error", "fp"} & set(row)
    assert len(fleet.promises._started) == 2, "the new run began twice"


@EVENTS
def test_nothing_expires_before_the_workers_could_tell_that_it_began(fleet: Fleet, event: str) -> None:
    """Another worker's keeper is the first that the new Redis hears, and it sees a task that waits and is too late."""
    member, task_id = begin_what_waits_by_the_disk(fleet, expires=5)
    other = fleet.join()
    getattr(fleet, event)()
    fleet.pass_time(6_000)
    for part in ("keep", "publish", "beat", "keep"):
        other.do(part)
    assert ran_once(fleet, member, task_id)


def test_what_did_not_begin_in_time_expires_once_all_workers_have_told(fleet: Fleet) -> None:
    (member,) = fleet.members
    task_id = fleet.client.options(expires=5).submit("work", "")
    fleet.fsync()
    member.do("poll")  # nothing is published
    fleet.redis_goes_back()
    fleet.pass_time(6_000)
    member.do("keep")
    assert fleet.world.picture().rows[task_id]["status"] == "queued"
    fleet.pass_time(16_000)
    member.do("keep")
    assert fleet.world.picture().rows[task_id]["status"] == "expired"


@pytest.mark.parametrize("event", ["redis_goes_back", "redis_is_emptied"])
def test_a_failure_is_not_undone_by_a_record_made_before_it(fleet: Fleet, event: str) -> None:
    """A silent worker's task was published again; then Redis forgot that, and the earlier run ended as failed."""
    member, task_id = fleet.begin_one()
    heir = fleet.join()
    for _ in range(5):
        fleet.pass_time(8_000)
        heir.do("beat")
    fleet.fsync()
    for part in ("keep", "keep", "publish"):
        heir.do(part)
    assert fleet.log.unread(task_id, gen=2)
    getattr(fleet, event)()
    for part in ("beat", "poll", "claim", "begin"):
        member.do(part)
    member.how = "final"
    for part in ("end", "finish"):
        member.do(part)
    for _ in range(8):
        fleet.pass_time(4_000)
        member.round()
    assert fleet.world.picture().rows[task_id]["status"] == "failed"
    assert not fleet.log.unread(task_id, gen=2)


def test_what_a_stopping_worker_has_not_been_granted_yet_is_not_handed_back(fleet: Fleet) -> None:
    """Redis knows of no such run, and would answer as if it had let go of one; the record is still needed."""
    member, _ = fleet.begin_one()
    worker = member.worker
    (granted,) = worker._lease.held.values()
    asked = Delivery(granted.state, 7, None, granted.body, granted.header, granted.timestamp)
    asked.task, asked.token = granted.task, worker._lease.new_token()
    worker._lease.held[asked.token] = asked
    member.broker.between = member._while_draining
    worker._drain.run(0.0)
    assert list(worker._lease.held.values()) == [asked]
