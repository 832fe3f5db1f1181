"""What a worker may believe of Redis: only answers of the present era, and only two seconds after a confirmation."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.conftest import Clock
from yadtq.core import yadtq_lease
from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_lease import REMEMBER, SETTLE_AFTER, Abandoned, EraChanged, Lease
from yadtq.core.yadtq_result_db import Reply
from yadtq.errors import ResultStoreUnavailable


class Owner:
    """What a lease tells its worker."""

    def __init__(self) -> None:
        self.settled: list[Delivery] = []
        self.eras: list[str] = []
        self.lease = Lease(self.settled.extend, self.recover)

    def recover(self, era: str) -> None:
        self.eras.append(era)
        self.lease.enter(era)

    def hears(self, era: str, sent_at: float | None = None) -> None:
        self.lease.believe(reply(era), time.monotonic() if sent_at is None else sent_at)


@pytest.fixture
def owner() -> Owner:
    return Owner()


def reply(era: str) -> Reply:
    return Reply(era, 0, [])


def delivery(offset: int = 0) -> Delivery:
    return Delivery(PartitionState(("topic", 0), "default"), offset, None, b"", None, 0)


# -- settling ----------------------------------------------------------------------------------------------------


def test_a_confirmation_settles_once_the_same_era_has_answered_two_seconds_later(owner: Owner, clock: Clock) -> None:
    one = delivery()
    owner.hears("e1")
    owner.lease.confirmed([one])
    assert owner.lease.settles_by(clock.now + SETTLE_AFTER)
    assert not owner.lease.settles_by(clock.now + SETTLE_AFTER - 1)
    clock.now += SETTLE_AFTER - 0.01
    owner.hears("e1")
    assert owner.settled == []
    clock.now += 0.02
    assert owner.settled == []  # the worker's own clock proves nothing
    owner.hears("e1")
    assert owner.settled == [one]
    assert not owner.lease.settles_by(clock.now + 60)


def test_an_answer_to_a_question_asked_earlier_proves_nothing(owner: Owner, clock: Clock) -> None:
    """It may have left Redis before the two seconds were over."""
    owner.hears("e1")
    owner.lease.confirmed([delivery()])
    asked = clock.now + SETTLE_AFTER - 0.5
    clock.now += SETTLE_AFTER + 5
    owner.hears("e1", sent_at=asked)
    assert owner.settled == []
    owner.hears("e1", sent_at=asked + 0.5)
    assert len(owner.settled) == 1


def test_each_confirmation_has_its_own_two_seconds(owner: Owner, clock: Clock) -> None:
    first, second = delivery(1), delivery(2)
    owner.hears("e1")
    owner.lease.confirmed([first])
    clock.now += 1.5
    owner.lease.confirmed([second])
    clock.now += 1.0
    owner.hears("e1")
    assert owner.settled == [first]
    clock.now += 1.0
    owner.hears("e1")
    assert owner.settled == [first, second]


def test_another_era_settles_nothing(owner: Owner, clock: Clock) -> None:
    owner.hears("e1")
    owner.lease.confirmed([delivery()])
    clock.now += SETTLE_AFTER + 1
    with pytest.raises(EraChanged, match="e2"):
        owner.hears("e2")
    assert owner.settled == []
    owner.lease.drop_unsettled()
    owner.lease.enter("e2")
    clock.now += SETTLE_AFTER + 1
    owner.hears("e2")
    assert owner.settled == []


def test_it_is_known_when_an_answer_would_settle_something(owner: Owner, clock: Clock) -> None:
    assert not owner.lease.settle_due
    owner.hears("e1")
    owner.lease.confirmed([delivery()])
    assert not owner.lease.settle_due
    clock.now += SETTLE_AFTER
    assert owner.lease.settle_due
    owner.hears("e1")
    assert not owner.lease.settle_due


class Emptied(deque[Any]):
    """Confirmations that another thread tries to settle just after somebody has looked whether there are any."""

    settle: Callable[[], None]

    def __len__(self) -> int:
        found = super().__len__()
        if found and threading.current_thread() is threading.main_thread():
            other = threading.Thread(target=self.settle, daemon=True)
            other.start()
            other.join(0.2)  # for nothing, where it has to wait for the one who looks
        return found


@pytest.mark.parametrize("look", [lambda owner: owner.lease.settle_due, lambda owner: owner.hears("e1")])
def test_another_thread_may_settle_between_a_look_and_what_follows(
    owner: Owner, clock: Clock, look: Callable[[Owner], object]
) -> None:
    owner.hears("e1")
    owner.lease._unsettled = confirmed = Emptied()
    owner.lease.confirmed([delivery()])
    clock.now += SETTLE_AFTER + 1
    confirmed.settle = lambda: owner.hears("e1")
    look(owner)
    confirmed.settle()
    assert len(owner.settled) == 1


# -- eras --------------------------------------------------------------------------------------------------------


def test_the_first_answer_tells_the_era(owner: Owner) -> None:
    assert owner.lease.era is None
    owner.hears("e1")
    assert owner.lease.era == "e1"


def test_an_answer_of_another_era_is_not_used_and_the_question_is_asked_again(owner: Owner) -> None:
    owner.hears("e1")
    answers = iter([reply("e2"), Reply("e2", 5, ["used"])])
    assert owner.lease.ask(lambda: next(answers)).items == ["used"]
    assert owner.eras == ["e2"]


def test_redis_may_change_again_while_the_worker_adapts(owner: Owner) -> None:
    owner.hears("e1")
    answers = iter([reply("e2"), reply("e3"), Reply("e3", 0, ["used"])])
    assert owner.lease.ask(lambda: next(answers)).items == ["used"]
    assert owner.eras == ["e2", "e3"]


# -- outages -----------------------------------------------------------------------------------------------------


def failing(times: int) -> Callable[[], Reply]:
    left = iter(range(times))

    def call() -> Reply:
        if next(left, None) is not None:
            raise ResultStoreUnavailable("Redis at h:1 cannot be reached")
        return reply("e1")

    return call


def test_a_call_is_repeated_until_answered_and_logged_once(
    owner: Owner, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def wait(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    monkeypatch.setattr(owner.lease.abandon, "wait", wait)
    with caplog.at_level(logging.INFO, logger=yadtq_lease.__name__):
        owner.lease.ask(failing(8))
    assert len(pauses) == 8
    assert pauses == sorted(pauses)
    assert pauses[0] <= 0.1
    assert max(pauses) <= 1.0
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "cannot be reached" in caplog.records[0].message
    assert "no task is started" in caplog.records[0].message
    assert "answers again" in caplog.records[1].message


def test_a_worker_that_ends_gives_unanswered_calls_up(owner: Owner) -> None:
    threading.Timer(0.05, owner.lease.abandon.set).start()
    with pytest.raises(Abandoned):
        owner.lease.ask(failing(10**9))


def test_other_errors_are_not_swallowed(owner: Owner) -> None:
    def call() -> Reply:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        owner.lease.ask(call)


# -- identity and memory -----------------------------------------------------------------------------------------


def test_tokens_are_unique_and_ascend_within_an_incarnation(owner: Owner) -> None:
    inc = owner.lease.inc
    tokens = [owner.lease.new_token() for _ in range(5)]
    assert tokens == [f"{inc}:{number}" for number in range(1, 6)]
    owner.lease.renew()
    assert owner.lease.inc != inc
    assert owner.lease.new_token() == f"{owner.lease.inc}:6"
    assert Owner().lease.inc != Owner().lease.inc


def test_a_token_made_while_the_incarnation_changes_is_never_made_again(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim by another thread, wherever it comes between the steps of the change."""
    tokens = [owner.lease.new_token() for _ in range(5)]

    class Interrupted(Lease):
        def __setattr__(self, name: str, value: object) -> None:
            tokens.append(self.new_token())
            super().__setattr__(name, value)
            tokens.append(self.new_token())

    monkeypatch.setattr(owner.lease, "__class__", Interrupted)
    owner.lease.renew()
    tokens += [owner.lease.new_token() for _ in range(100)]
    assert len(set(tokens)) == len(tokens)


def test_what_has_just_finished_is_remembered_for_five_seconds(owner: Owner, clock: Clock) -> None:
    old, new = delivery(1), delivery(2)
    owner.hears("e1")
    owner.lease.finished([old], "e1")
    clock.now += REMEMBER - 1
    owner.lease.finished([new], "e1")
    assert owner.lease.take_recent() == [old, new]
    assert owner.lease.take_recent() == []  # they are held again now
    owner.lease.enter("e1")
    owner.lease.finished([old], "e1")
    clock.now += REMEMBER - 1
    owner.lease.finished([new], "e1")
    clock.now += 2
    owner.hears("e1")
    assert owner.lease.take_recent() == [new]


def test_an_outage_makes_nothing_forgotten(owner: Owner, clock: Clock) -> None:
    """What Redis loses is what it was told just before it went, however long it was away."""
    late = delivery()
    owner.hears("e1")
    owner.lease.finished([late], "e1")
    clock.now += 1
    owner.hears("e1")
    clock.now += 3600
    with pytest.raises(EraChanged):
        owner.hears("e2")
    assert owner.lease.take_recent() == [late]


def test_a_process_that_was_stopped_while_it_heard_an_answer_forgets_nothing(owner: Owner, clock: Clock) -> None:
    """Redis may have gone just after it gave that answer, and have lost what it was told just before."""
    first, second = delivery(1), delivery(2)
    owner.hears("e1")
    owner.lease.finished([first], "e1")
    asked = clock.now + 1
    clock.now += 600
    owner.hears("e1", sent_at=asked)
    owner.lease.finished([second], "e1")
    assert owner.lease.take_recent() == [first, second]


def test_the_memory_is_bounded(owner: Owner, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yadtq_lease, "REMEMBER_AT_MOST", 10)
    batches = [[delivery(n), delivery(n)] for n in range(9)]
    owner.hears("e1")
    for batch in batches:
        owner.lease.finished(batch, "e1")
    assert owner.lease.take_recent() == [one for batch in batches[4:] for one in batch]


def test_old_ends_are_forgotten_without_being_asked_for(owner: Owner, clock: Clock) -> None:
    owner.hears("e1")
    for _ in range(100):
        owner.hears("e1")
        owner.lease.finished([delivery()], "e1")
        clock.now += 1
    assert len(owner.lease._recent) <= REMEMBER + 1


def test_the_memory_is_bounded_in_bytes(owner: Owner, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yadtq_lease, "REMEMBER_BYTES", 1000)
    owner.hears("e1")
    large = [delivery(n) for n in range(5)]
    for one in large:
        one.body = b"x" * 300
        owner.lease.finished([one], "e1")
    assert owner.lease.take_recent() == large[2:]


def test_an_idle_worker_forgets_as_well(owner: Owner, clock: Clock) -> None:
    owner.hears("e1")
    owner.lease.finished([delivery()], "e1")
    clock.now += REMEMBER + 1
    owner.hears("e1")
    assert not owner.lease._recent


def test_an_answer_given_before_the_era_had_been_told_all_is_not_used(owner: Owner, clock: Clock) -> None:
    owner.hears("e1")
    asked = clock.now
    clock.now += 0.1
    owner.lease.enter("e2")  # another thread has adapted meanwhile
    with pytest.raises(EraChanged, match="e2"):
        owner.hears("e2", sent_at=asked)
    owner.hears("e2")


def test_nor_is_it_in_the_moment_the_era_is_entered(clock: Clock) -> None:
    known: list[float] = []

    class Watched(Lease):
        """Looks as another thread may: as soon as the era has changed."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "era" and value == "e2":
                known.append(self._entered_at)

    Watched(lambda _settled: None, lambda _era: None).enter("e2")
    assert known == [clock.now]


def test_while_a_new_era_is_told_what_runs_no_run_is_finished(owner: Owner) -> None:
    """An answer of the old one that comes to be used then says nothing of the new one."""
    one = delivery()
    one.token = "a:1"
    owner.lease.held[one.token] = one
    owner.hears("e1")
    assert owner.lease.take_recent() == []
    assert not owner.lease.finished([one], "e1")
    owner.lease.enter("e2")
    assert not owner.lease.finished([one], "e1")
    assert owner.lease.held == {"a:1": one}
    assert owner.lease.finished([one], "e2")
    assert (owner.lease.held, owner.lease.take_recent()) == ({}, [one])


def test_forgetting_a_run_twice_is_fine(owner: Owner) -> None:
    owner.lease.held["a:1"] = delivery()
    owner.lease.forget(["a:1", "a:1", "a:2"])
    assert owner.lease.held == {}
