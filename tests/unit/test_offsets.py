"""Which offset may be committed: never past a received record that is not done, never backwards."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

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


class Windows(RuleBasedStateMachine):
    """A window beside the plain sets of what was received and what is done; commits are confirmed late, in any order, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.window = OffsetWindow()
        self.received: set[int] = set()
        self.finished: set[int] = set()
        self.under_way: list[int] = []  # commits that were sent and not yet answered
        self.committed = -1  # the furthest that was confirmed
        self.offered = -1

    @property
    def unfinished(self) -> set[int]:
        return self.received - self.finished

    @property
    def safe(self) -> int:
        """How far may be committed: the lowest that is not done, or one past the newest."""
        return min(self.unfinished, default=max(self.received, default=-1) + 1)

    @rule(gap=st.integers(1, 4))
    def receive(self, gap: int) -> None:
        offset = max(self.received, default=-1) + gap
        assert self.window.receive(offset)
        self.received.add(offset)

    @rule(back=st.integers(0, 30))
    def receive_again(self, back: int) -> None:
        """Whatever it was, and whether or not it is done: nothing changes."""
        newest = max(self.received, default=-1)
        assert not self.window.receive(max(-1, newest - back))

    @rule(offsets=st.lists(st.integers(-1, 60), max_size=5))
    def done(self, offsets: list[int]) -> None:
        """In any order, again, and also below the first or above the newest; in a gap there is nothing to be done."""
        first, newest = min(self.received, default=0), max(self.received, default=-1)
        self.window.done(o for o in offsets if o in self.received or not first <= o <= newest)
        self.finished |= self.received & set(offsets)

    @precondition(lambda self: self.unfinished)
    @rule(pick=st.integers(0, 100), newest=st.booleans())
    def one_is_done(self, pick: int, newest: bool) -> None:
        among = sorted(self.unfinished, reverse=newest)
        self.done([among[pick % min(3, len(among))]])

    @rule()
    def send_commit(self) -> None:
        offer = self.window.next_commit()
        assert offer == (self.safe if self.received and self.safe > self.committed else None)
        if offer is not None:
            assert offer >= self.offered, "backwards"
            self.offered = offer
            self.under_way.append(offer)

    @precondition(lambda self: self.under_way)
    @rule(pick=st.integers(0, 100), again=st.booleans())
    def commit_is_confirmed(self, pick: int, again: bool) -> None:
        """Any of them, also after a later one, and perhaps twice; the others may never be."""
        number = pick % len(self.under_way)
        offset = self.under_way[number] if again else self.under_way.pop(number)
        self.window.confirm_commit(offset)
        self.committed = max(self.committed, offset)

    @invariant()
    def nothing_unfinished_is_committed(self) -> None:
        assert all(self.committed <= offset for offset in self.unfinished)
        assert all(offset <= self.safe for offset in self.under_way)

    @invariant()
    def the_window_says_so(self) -> None:
        window, head = self.window, min(self.unfinished, default=None)
        assert window.head == head
        assert window.committable == (self.safe if self.received else None)
        span = [offset for offset in self.received if head is not None and offset >= head]
        assert window.span == len(span)
        behind = len(self.finished & set(span)) / len(span) if span else 0.0
        assert window.finished_share == behind


def test_against_plain_sets() -> None:
    run_state_machine_as_test(Windows, settings=settings(deadline=None, max_examples=150, stateful_step_count=50))
