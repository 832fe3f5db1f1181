"""How far ahead is claimed, and how long a claimed run has waited for a slot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.conftest import Clock
from yadtq.core.yadtq_ahead import AHEAD_FOR, GIVE_BACK_AFTER, MAX_AHEAD, Pace, Unbegun


class Queue:
    """A pool whose slots take what the test says."""

    def __init__(self) -> None:
        self.todo: list[Any] = []

    @property
    def backlog(self) -> int:
        return len(self.todo)

    def put(self, run: Any) -> None:
        self.todo.append(run)

    def begin(self, count: int) -> None:
        del self.todo[:count]

    def take_unbegun(self) -> list[Any]:
        taken, self.todo = self.todo, []
        return taken


class House:
    """What Unbegun is given, and what it did."""

    def __init__(self) -> None:
        self.pool = Queue()
        self.released: list[str] = []
        self.confirmed: list[Any] = []
        self.held: dict[str, Any] = {}
        lease = SimpleNamespace(inc="me", ask=lambda call: call(), forget=self.forget, confirmed=self.confirmed.extend)
        self.unbegun = Unbegun(self, lease, self.pool)  # type: ignore[arg-type]

    def release(self, _inc: str, held: list[tuple[str, str]], *, leave: bool) -> None:
        assert not leave
        assert all(token in self.held for _, token in held), "it must be held until Redis has answered"
        self.released += [task_id for task_id, _ in held]

    def forget(self, tokens: Any) -> None:
        for token in tokens:
            del self.held[token]

    def claim(self, *names: str) -> None:
        runs = [SimpleNamespace(token=name, task=SimpleNamespace(id=name)) for name in names]
        self.held.update({run.token: run for run in runs})
        self.unbegun.put(runs)  # type: ignore[arg-type]


@pytest.fixture
def house(clock: Clock) -> House:
    return House()


def test_the_wait_is_that_of_the_first_which_has_not_begun(house: House, clock: Clock) -> None:
    assert house.unbegun.oldest_waits == 0
    house.claim("a", "b")
    clock.now += 1
    house.claim("c")
    assert house.unbegun.oldest_waits == 1
    house.pool.begin(1)
    assert house.unbegun.oldest_waits == 1
    house.pool.begin(1)
    assert house.unbegun.oldest_waits == 0
    clock.now += 0.5
    assert house.unbegun.oldest_waits == 0.5
    house.pool.begin(1)
    assert house.unbegun.oldest_waits == 0


def test_what_waits_too_long_goes_back_and_only_that(house: House, clock: Clock) -> None:
    house.claim("runs", "late", "later")
    house.pool.begin(1)
    clock.now += GIVE_BACK_AFTER
    house.unbegun.give_back_late()
    assert house.released == []
    clock.now += 0.01
    house.unbegun.give_back_late()
    assert house.released == ["late", "later"]
    assert [run.token for run in house.confirmed] == ["late", "later"]
    assert list(house.held) == ["runs"]
    house.claim("next")
    clock.now += 1
    assert house.unbegun.oldest_waits == 1


def test_a_slow_worker_claims_nothing_ahead_and_a_fast_one_some_20_ms(clock: Clock) -> None:
    pace = Pace()
    assert pace.ahead() == 0
    pace.ended(1)
    assert pace.ahead() == 0
    for _ in range(10):
        clock.now += 0.01
        pace.ended(50)
    assert pace.ahead() == pytest.approx(501 / 0.1 * AHEAD_FOR, abs=1)
    for _ in range(10):
        clock.now += 0.001
        pace.ended(10_000)
    assert pace.ahead() == MAX_AHEAD
    clock.now += 1
    assert pace.ahead() == 0


def test_a_run_that_was_put_back_by_its_slot_goes_back_in_time_as_well(house: House, clock: Clock) -> None:
    house.claim("a")
    run = house.pool.todo[0]
    house.pool.begin(1)
    assert house.unbegun.oldest_waits == 0
    house.pool.put(run)  # its child was dead
    house.unbegun.give_back_late()
    clock.now += GIVE_BACK_AFTER + 0.1
    house.unbegun.give_back_late()
    assert house.released == ["a"]
