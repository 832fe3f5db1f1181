"""A worker's end beside a Redis that fails, and a pool and a poll loop that a test plays."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from tests.unit.conftest import Clock
from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_drain import Drain
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_result_db import READ_TIMEOUT
from yadtq.core.yadtq_task import Task
from yadtq.errors import ResultStoreUnavailable


class Scene:
    """A worker with three runs that wait for a slot, and one that runs as long as the test wants."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lease = Lease(lambda _settled: None, lambda _era: None)
        self.unbegun = [self._claimed(f"t{number}") for number in range(3)]
        self.fails = 0
        self.returned: list[list[str]] = []
        self.looks = 0
        self.patience = 0.0  # of the last hand back
        parts: list[Any] = [self, Mock(), self, self.lease, self, "w", threading.Event()]
        self.drain = Drain(*parts)

    def _claimed(self, task_id: str) -> Delivery:
        made = Delivery(PartitionState(("tasks", 0), "default"), 0, None, b"", None, 0)
        made.task, made.token, made.claimed_at = Task(task_id, "add", (), {}), self.lease.new_token(), self.clock.now
        self.lease.held[made.token] = made
        return made

    def take_unbegun(self) -> list[Delivery]:
        taken, self.unbegun = self.unbegun, []
        return taken

    def abandon(self) -> None: ...

    commit = abandon

    def poll_until(self, over: Callable[[], bool]) -> None:
        while not over():
            self.looks += 1
            self.clock.now += 0.05

    def release(self, _inc: str, held: list[tuple[str, str]], *, leave: bool) -> None:
        assert not leave
        self.fails -= 1
        if self.fails >= 0:
            raise ResultStoreUnavailable("Redis at h:1 did not answer in time")
        self.returned.append([task_id for task_id, _ in held])

    def patiently(self, call: Callable[[], None], patience: float) -> None:
        self.patience = patience
        call()


@pytest.fixture
def scene(clock: Clock) -> Scene:
    return Scene(clock)


def test_what_was_not_begun_is_handed_back_as_soon_as_redis_answers_again(scene: Scene) -> None:
    """And the worker that has nothing else ends then, long before the end of its grace."""
    scene.fails, began = 3, scene.clock.now
    scene.drain.run(25.0)
    assert scene.returned == [["t0", "t1", "t2"]]
    assert not scene.lease.held
    assert scene.clock.now - began < 6  # of which three are for what Redis has just confirmed


def test_redis_is_not_hammered_meanwhile(scene: Scene) -> None:
    scene.fails = 10**6
    scene.drain.run(10.0)
    tried = 10**6 - scene.fails
    assert 15 < tried < 25
    assert scene.looks > 150


def test_the_last_hand_back_may_be_tried_again_after_one_that_redis_left_unanswered(scene: Scene) -> None:
    scene.fails = 1
    scene.drain.run(0.0)
    assert scene.patience > 2 * READ_TIMEOUT
    assert scene.returned == [["t0", "t1", "t2"]]
