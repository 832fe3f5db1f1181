"""Which offset may be committed: never past a received record that is not done, never backwards."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yadtq.core.yadtq_offsets import OffsetWindow


def window(*received: int) -> OffsetWindow:
    made = OffsetWindow()
    for offset in received:
        assert made.receive(offset)
    return made


@pytest.mark.parametrize(
    ("received", "done", "committable", "head"),
    [
        ([], [], None, None),
        ([0], [], 0, 0),
        ([0], [0], 1, None),
        ([5, 6, 7], [], 5, 5),
        ([5, 6, 7], [5], 6, 6),
        ([5, 6, 7], [6, 7], 5, 5),
        ([5, 6, 7], [7, 5], 6, 6),
        ([5, 6, 7], [7, 6, 5], 8, None),
        ([5, 9, 20], [5], 9, 9),  # gaps were never received and are not waited for
        ([5, 9, 20], [5, 9], 20, 20),
        ([5, 9, 20], [5, 9, 20], 21, None),
        ([5, 6], [5, 5, 5], 6, 6),
        ([5, 6], [1, 4], 5, 5),  # long committed
        ([5, 6], [99], 5, 5),  # never received
    ],
)
def test_what_may_be_committed(received: list[int], done: list[int], committable: int | None, head: int | None) -> None:
    made = window(*received)
    made.done(done)
    assert (made.committable, made.head) == (committable, head)


def test_a_refetched_record_is_not_new() -> None:
    made = window(5, 7)
    assert not made.receive(5)
    assert not made.receive(7)
    assert not made.receive(6)  # older than the newest: it cannot come after it
    assert made.receive(8)


def test_done_before_received_does_not_count() -> None:
    made = window(3)
    made.done([5])
    assert made.receive(5)
    made.done([3])
    assert made.committable == 5


def test_a_commit_is_offered_until_it_is_confirmed_and_never_backwards() -> None:
    made = window(5, 6, 7)
    assert made.next_commit() == 5
    made.confirm_commit(5)
    assert made.next_commit() is None
    made.done([5, 6])
    assert made.next_commit() == 7
    assert made.next_commit() == 7  # Kafka has not answered
    made.confirm_commit(7)
    made.confirm_commit(6)  # a late answer to an older commit
    assert made.next_commit() is None
    made.done([7])
    assert made.next_commit() == 8


def test_span_and_finished_share() -> None:
    made = window(1, 2, 3, 4)
    assert (made.span, made.finished_share) == (4, 0.0)
    made.done([2, 3, 4])
    assert (made.span, made.finished_share) == (4, 0.75)
    made.done([1])
    assert (made.span, made.finished_share) == (0, 0.0)


steps = st.lists(
    st.tuples(st.just("receive"), st.integers(1, 4))
    | st.tuples(st.just("done"), st.lists(st.integers(0, 60), max_size=5))
    | st.tuples(st.just("commit"), st.just(None)),
    max_size=60,
)


@given(steps)
@settings(deadline=None, max_examples=300)
def test_against_a_list_of_what_is_unfinished(moves: list[tuple[str, object]]) -> None:
    """The whole truth by plain sets: every commit offered is the lowest unfinished, or one past the newest."""
    made, last, committed = OffsetWindow(), -1, -1
    unfinished: set[int] = set()
    for move, value in moves:
        if move == "receive":
            last += value  # type: ignore[operator]
            assert made.receive(last)
            unfinished.add(last)
        elif move == "done":
            made.done(value)  # type: ignore[arg-type]
            unfinished -= set(value)  # type: ignore[call-overload]
        else:
            offer = made.next_commit()
            safe = min(unfinished, default=last + 1)
            assert offer is None or committed < offer <= safe
            assert offer == (safe if last >= 0 and safe > committed else None)
            if offer is not None:
                made.confirm_commit(offer)
                committed = offer
        assert made.head == min(unfinished, default=None)
        assert made.span == 0 if not unfinished else made.span >= len(unfinished)
