"""What is buffered between Kafka and the claims: fairness, bounds, detaching, and what a rebalance leaves behind."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.unit.conftest import Clock
from yadtq.core import yadtq_intake
from yadtq.core.yadtq_consumer import Received
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_intake import ASK_AGAIN, DETACH_AFTER, Intake

A, B, C = ("tasks", 0), ("tasks", 1), ("tasks.media", 0)
QUEUES = {"tasks": "default", "tasks.media": "media"}


@pytest.fixture
def intake() -> Intake:
    return Intake(QUEUES, 1.0, lambda: None)


def records(offsets: Iterable[int], size: int = 1) -> list[Received]:
    return [Received(offset, b"key", b"x" * size, b"1::", 123) for offset in offsets]


def offsets(deliveries: Iterable[Delivery]) -> list[tuple[tuple[str, int], int]]:
    return [(delivery.state.position, delivery.offset) for delivery in deliveries]


def claimed(delivery: Delivery, ago: float) -> Delivery:
    delivery.claimed_at = time.monotonic() - ago
    return delivery


# -- taking ------------------------------------------------------------------------------------------------------


def test_records_come_in_order_and_once(intake: Intake) -> None:
    intake.add(A, records(range(3)))
    intake.add(A, records(range(3, 5)))
    assert intake.waiting() == 5
    assert offsets(intake.take(3)) == [(A, 0), (A, 1), (A, 2)]
    assert offsets(intake.take(9)) == [(A, 3), (A, 4)]
    assert intake.take(9) == []
    assert intake.waiting() == 0


def test_a_record_is_handed_on_whole(intake: Intake) -> None:
    intake.add(C, [Received(7, b"k", b"body", b"2:k1:ab", 99)])
    (delivery,) = intake.take(1)
    assert (delivery.offset, delivery.key, delivery.body, delivery.header) == (7, b"k", b"body", b"2:k1:ab")
    assert (delivery.timestamp, delivery.state.queue, delivery.state.position) == (99, "media", C)


def test_adding_wakes_the_claimer() -> None:
    woken = threading.Event()
    Intake(QUEUES, 1.0, woken.set).add(A, records([0]))
    assert woken.is_set()


def test_a_full_partition_does_not_starve_the_others(intake: Intake) -> None:
    intake.add(A, records(range(1000)))
    intake.add(B, records(range(5)))
    intake.add(C, records(range(5)))
    assert {
        position for position, _ in offsets(intake.take(5)) + offsets(intake.take(5)) + offsets(intake.take(5))
    } == {
        A,
        B,
        C,
    }


def test_partitions_take_turns(intake: Intake) -> None:
    for position in (A, B, C):
        intake.add(position, records(range(100)))
    firsts = [offsets(intake.take(10))[0][0] for _ in range(9)]
    assert Counter(firsts) == {A: 3, B: 3, C: 3}
    assert len(set(firsts[:3])) == 3


# -- bounds ------------------------------------------------------------------------------------------------------


def test_what_is_taken_at_once_is_bounded_in_bytes(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one with which the bound is reached still comes along: one that is larger would never be taken."""
    monkeypatch.setattr(yadtq_intake, "CALL_BYTES", 250)
    intake.add(A, records(range(4), size=100))
    intake.add(B, records([0], size=1000))
    first = intake.take(9)
    assert offsets(first) == [(A, 0), (A, 1), (A, 2)]
    assert offsets(intake.take(9)) == [(B, 0)]
    for delivery in first:
        intake.defer(delivery, 0.0)
    assert offsets(intake.take(9)) == offsets(first)
    assert offsets(intake.take(9)) == [(A, 3)]


def test_there_is_no_room_beyond_so_many_records_until_half_is_taken(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_intake, "MAX_BUFFERED", 10)
    intake.add(A, records(range(9)))
    assert intake.room.is_set()
    intake.add(B, records(range(1)))
    assert not intake.room.is_set()
    intake.take(4)
    assert not intake.room.is_set()
    intake.take(1)
    assert intake.room.is_set()


def test_there_is_no_room_beyond_so_many_bytes_until_half_is_taken(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_intake, "MAX_BYTES", 1000)
    intake.add(A, records(range(2), size=499))
    assert intake.room.is_set()
    intake.add(A, records([2], size=2))
    assert not intake.room.is_set()
    intake.take(1)
    assert not intake.room.is_set()  # 501 bytes are left
    intake.take(1)
    assert intake.room.is_set()


def test_dropping_makes_room(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yadtq_intake, "MAX_BUFFERED", 10)
    monkeypatch.setattr(yadtq_intake, "MAX_BYTES", 1000)
    intake.add(A, records(range(10), size=100))
    assert not intake.room.is_set()
    intake.keep_only(set())
    assert intake.room.is_set()
    intake.add(A, records(range(9), size=100))
    assert intake.room.is_set()  # nothing of the dropped ones is counted any more


def test_a_partition_pauses_at_its_span_and_resumes_at_half(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yadtq_intake, "MAX_SPAN", 10)
    intake.add(A, records(range(9)))
    intake.add(B, records(range(3)))
    assert intake.to_pause() == []
    intake.add(A, records([9]))
    assert intake.to_pause() == [A]
    assert intake.to_pause() == []  # told once
    assert intake.paused == {A}
    taken = intake.take(13)
    assert intake.to_resume() == []  # taken is not finished
    intake.settle([delivery for delivery in taken if delivery.state.position == A and delivery.offset < 4])
    assert intake.to_resume() == []
    intake.settle([delivery for delivery in taken if delivery.state.position == A and delivery.offset == 4])
    assert intake.to_resume() == [A]
    assert intake.paused == set()


# -- asking again ------------------------------------------------------------------------------------------------


def test_a_deferred_record_is_asked_for_again_later_and_first(intake: Intake, clock: Clock) -> None:
    intake.add(A, records(range(3)))
    (busy,) = intake.take(1)
    intake.defer(busy)
    clock.now += ASK_AGAIN - 0.01
    assert offsets(intake.take(1)) == [(A, 1)]
    clock.now += 0.02
    assert intake.waiting() == 2
    assert offsets(intake.take(9)) == [(A, 0), (A, 2)]


def test_deferred_records_come_in_the_order_of_their_times(intake: Intake, clock: Clock) -> None:
    intake.add(A, records(range(3)))
    late, soon, also_soon = intake.take(3)
    intake.defer(late, 30.0)
    intake.defer(soon, 1.0)
    intake.defer(also_soon, 1.0)
    clock.now += 1.0
    assert intake.take(9) == [soon, also_soon]
    clock.now += 29.0
    assert intake.take(9) == [late]


def test_a_deferred_record_of_a_dropped_partition_is_not_asked_for(intake: Intake, clock: Clock) -> None:
    intake.add(A, records([0]))
    (busy,) = intake.take(1)
    intake.defer(busy)
    intake.keep_only(set())
    clock.now += ASK_AGAIN
    assert intake.take(9) == []


# -- commits -----------------------------------------------------------------------------------------------------


def test_only_what_is_settled_is_committed(intake: Intake) -> None:
    intake.add(A, records(range(3)))
    intake.add(B, records([5]))
    assert intake.commits() == {A: 0, B: 5}
    taken = intake.take(4)
    intake.settle(taken[1:])
    assert intake.commits() == {A: 0, B: 6}
    intake.committed({A: 0, B: 6})
    assert intake.commits() == {}
    intake.settle(taken[:1])
    assert intake.commits() == {A: 3}
    assert not intake.unfinished


def test_a_buffered_record_is_unfinished(intake: Intake) -> None:
    assert not intake.unfinished
    intake.add(A, records([0]))
    assert intake.unfinished


# -- detaching ---------------------------------------------------------------------------------------------------


def test_a_long_running_head_is_detached(intake: Intake, clock: Clock) -> None:
    intake.add(A, records(range(2)))
    head, other = intake.take(2)
    claimed(head, DETACH_AFTER - 1)
    assert intake.detach([head]) == []
    clock.now += 2
    assert intake.detach([head]) == [head]
    assert intake.commits() == {A: 1}
    intake.settle([head])  # its end comes later and changes nothing
    assert intake.commits() == {A: 1}
    assert other.offset == 1


def test_several_long_heads_are_detached_together(intake: Intake, clock: Clock) -> None:
    intake.add(A, records(range(3)))
    taken = intake.take(3)
    long = [claimed(delivery, DETACH_AFTER + 1) for delivery in taken[:2]]
    claimed(taken[2], 1)
    assert intake.detach(reversed(taken)) == long
    assert intake.commits() == {A: 2}


def test_what_is_only_buffered_is_never_detached(intake: Intake, clock: Clock) -> None:
    intake.add(A, records(range(3)))
    clock.now += 10 * DETACH_AFTER
    assert intake.detach([]) == []
    assert intake.commits() == {A: 0}


def test_what_is_asked_again_is_never_detached(intake: Intake, clock: Clock) -> None:
    """BUSY and WAIT: another run has it, or none; only the record makes sure that it is looked at again."""
    intake.add(A, records(range(3)))
    head, behind, _ = intake.take(3)
    intake.defer(head)
    clock.now += 10 * DETACH_AFTER
    assert intake.detach([claimed(behind, 10 * DETACH_AFTER)]) == []
    assert intake.commits() == {A: 0}
    assert head.claimed_at == 0


def test_a_claim_without_an_answer_is_never_detached(intake: Intake, clock: Clock) -> None:
    intake.add(A, records([0]))
    (asked,) = intake.take(1)
    asked.token = "inc:1"
    clock.now += 10 * DETACH_AFTER
    assert intake.detach([asked]) == []


def test_a_head_that_pins_a_nearly_full_and_finished_span_is_detached(
    intake: Intake, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_intake, "MAX_SPAN", 1000)
    intake.add(A, records(range(901)))
    head, *others = intake.take(901)
    intake.settle(others[:880])
    assert intake.detach([claimed(head, 6.0)]) == []  # 97.7 % are done
    intake.settle(others)
    assert intake.detach([claimed(head, 4.0)]) == []  # it has just begun
    assert intake.detach([claimed(head, 6.0)]) == [head]
    assert intake.commits() == {A: 901}


def test_a_short_span_is_not_worth_detaching(intake: Intake, clock: Clock) -> None:
    intake.add(A, records(range(500)))
    head, *others = intake.take(500)
    claimed(head, 100.0)
    intake.settle(others)
    assert intake.detach([head]) == []


def test_what_another_run_has_held_for_long_may_be_let_go(intake: Intake) -> None:
    intake.add(A, records(range(3)))
    head, *_ = intake.take(3)
    assert not intake.may_let_go(head, DETACH_AFTER)
    assert intake.may_let_go(head, DETACH_AFTER + 0.1)
    assert intake.commits() == {A: 0}  # only once Redis has answered again, as with every record that is not needed


def test_what_another_run_holds_may_be_let_go_sooner_where_it_is_in_the_way(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_intake, "MAX_SPAN", 1000)
    intake.add(A, records(range(901)))
    head, *others = intake.take(901)
    assert not intake.may_let_go(head, 6.0)
    intake.settle(others)
    assert not intake.may_let_go(head, 4.0)
    assert intake.may_let_go(head, 6.0)


def test_time_scales() -> None:
    scaled = Intake(QUEUES, 0.01, lambda: None)
    scaled.add(A, records([0]))
    (head,) = scaled.take(1)
    assert scaled.detach([claimed(head, 3.1)]) == [head]


# -- rebalances --------------------------------------------------------------------------------------------------


def test_a_revoked_partition_gives_its_last_commit_and_is_forgotten(intake: Intake) -> None:
    intake.add(A, records(range(3)))
    intake.add(B, records(range(3)))
    intake.settle(intake.take(3))
    kept = dict(intake.commits())
    assert kept == {A: 3, B: 0}
    assert intake.partitions_revoked({A, C}) == {A: 3}
    assert intake.commits() == {B: 0}
    assert offsets(intake.take(9)) == [(B, 0), (B, 1), (B, 2)]


def test_a_lost_partition_is_dropped_without_a_commit(intake: Intake) -> None:
    intake.add(A, records(range(3)))
    intake.partitions_lost({A})
    assert intake.commits() == {}
    assert intake.take(9) == []
    assert intake.waiting() == 0


def test_a_kept_partition_keeps_its_buffer_and_window(intake: Intake) -> None:
    intake.add(A, records(range(3)))
    intake.add(B, records(range(3)))
    (first,) = intake.take(1)
    intake.keep_only({A, C})
    assert offsets(intake.take(9)) == [(A, 1), (A, 2)]
    intake.settle([first])
    assert intake.commits() == {A: 1}
    assert not intake.waiting()


def test_what_an_older_assignment_left_behind_is_harmless(intake: Intake, clock: Clock) -> None:
    """Given up, then assigned again from the committed offset: late ends of old runs must not move the new window."""
    intake.add(A, records(range(3)))
    old = intake.take(3)
    intake.partitions_revoked({A})
    intake.add(A, records(range(3)))
    intake.settle(old)
    assert intake.commits() == {A: 0}
    assert intake.detach([claimed(delivery, 10 * DETACH_AFTER) for delivery in old]) == []
    assert intake.commits() == {A: 0}
    intake.settle(intake.take(1))
    assert intake.commits() == {A: 1}


def test_a_late_answer_to_a_commit_of_a_dropped_partition_is_harmless(intake: Intake) -> None:
    intake.add(A, records([0]))
    intake.partitions_lost({A})
    intake.committed({A: 1})
    assert intake.commits() == {}


def test_after_a_reset_everything_is_new_again(intake: Intake) -> None:
    intake.add(A, records(range(5)))
    intake.settle(intake.take(2))
    intake.reset()
    assert intake.commits() == {}
    assert not intake.unfinished
    intake.add(A, records(range(5)))
    assert len(intake.take(9)) == 5


def test_two_threads_lose_nothing(intake: Intake) -> None:
    """The poll thread adds while the claimer takes and settles; in the end every record has been settled once."""
    total, seen = 3000, Counter[tuple[tuple[str, int], int]]()
    done = threading.Event()

    def poll() -> None:
        for start in range(0, total, 50):
            for position in (A, B, C):
                intake.add(position, records(range(start, start + 50)))
            intake.commits()
        done.set()

    thread = threading.Thread(target=poll)
    thread.start()
    rng = random.Random(3)
    while not done.is_set() or intake.waiting():
        taken = intake.take(rng.randint(1, 97))
        seen.update(offsets(taken))
        rng.shuffle(taken)
        intake.settle(taken)
    thread.join()
    assert len(seen) == 3 * total
    assert set(seen.values()) == {1}
    assert intake.commits() == {A: total, B: total, C: total}
    assert intake.room.is_set()


def test_records_of_a_topic_that_was_deleted_and_made_anew_are_refused_until_all_is_read_again(intake: Intake) -> None:
    intake.add(A, records(range(100, 105)))
    old = intake.take(2)
    assert not intake.add(A, records(range(3)))
    assert intake.waiting() == 3
    intake.reset()
    assert intake.add(A, records(range(3)))
    intake.settle(old)
    assert offsets(intake.take(9)) == [(A, 0), (A, 1), (A, 2)]
    assert intake.commits() == {A: 0}


@pytest.mark.parametrize("how", ["partitions_revoked", "partitions_lost"])
def test_records_of_a_poll_during_which_their_partition_was_taken_away_are_refused(intake: Intake, how: str) -> None:
    """It may have come back and be read from an earlier offset: behind these, the earlier records would pass for old ones."""
    intake.add(A, records(range(5)))
    before = intake.losses
    getattr(intake, how)({A})
    assert not intake.add(A, records([5, 6]), before)
    assert intake.add(B, records([5]), before)
    assert intake.add(A, records([3, 4]), intake.losses)
    assert offsets(intake.take(9)) == [(B, 5), (A, 3), (A, 4)]
