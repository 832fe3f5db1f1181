"""The poll loop's membership of the group: when it joins and stays out, and that it never spins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from yadtq.core.yadtq_intake import Intake
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_polling import PAUSE, POLL_FOR, Poller, logger
from yadtq.errors import BrokerUnavailable


class Kafka:
    """A broker and the consumer it opens; ``away``: neither answers."""

    def __init__(self) -> None:
        self.away = False
        self.asked = self.left = 0
        self.outage = OutageLog(logger, "Kafka", "nothing")

    def open_consumer(self, _topics: object, _handler: object) -> Any:
        self._answer()
        return self

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise BrokerUnavailable("Kafka at h:1 cannot be reached")

    def poll(self, _seconds: float) -> dict[Any, Any]:
        self._answer()
        return {}

    def assignment(self) -> set[Any]:
        return set()

    def pause(self, _partitions: object) -> None: ...

    resume = pause

    def rebalance_is_stuck(self) -> bool:
        return False

    def close(self) -> None:
        self.left += 1


class Scene:
    """A poller that is told to give way, and to stop, by the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kafka, self.stop, self.gives_way = Kafka(), threading.Event(), ""
        self.slept = 0.0
        intake = Intake({}, 1.0, lambda: None)
        lease = Lease(intake.settle, lambda _era: None)
        self.poller = Poller(
            self.kafka,  # type: ignore[arg-type]
            [],
            intake,
            lease,
            "w",
            self.stop,
            lambda: self.gives_way,
        )
        self.poller.join()
        monkeypatch.setattr(time, "sleep", self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept += seconds

    def poll(self, times: int) -> None:
        left = iter(range(times))
        self.poller.poll_until(lambda: next(left, None) is None)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_it_leaves_when_it_gives_way_and_joins_when_it_does_not(scene: Scene) -> None:
    scene.gives_way = "has been paused for long"
    scene.poll(5)
    assert (scene.poller.consumer, scene.kafka.left, scene.kafka.asked) == (None, 1, 1)
    scene.gives_way = ""
    scene.poll(1)
    assert scene.poller.consumer is scene.kafka


@pytest.mark.parametrize("stopping", [False, True])
def test_out_of_the_group_it_waits_between_two_looks(scene: Scene, stopping: bool) -> None:
    """Also in the drain of a worker that stops."""
    scene.gives_way = "has been paused for long"
    scene.poll(1)
    if stopping:
        scene.stop.set()
    scene.poll(10)
    assert scene.slept == pytest.approx(10 * POLL_FOR)


def leave(scene: Scene) -> None:
    scene.poller.leave()


@pytest.mark.parametrize("before", [leave, lambda _scene: None])
def test_kafka_is_not_hammered_while_it_is_away(scene: Scene, before: Callable[[Scene], None]) -> None:
    """Neither to join nor to poll, and neither in work nor in the drain."""
    before(scene)
    scene.kafka.away = True
    scene.poll(4)
    assert scene.slept == pytest.approx(4 * PAUSE)
    asked, scene.slept = scene.kafka.asked, 0.0
    scene.stop.set()
    scene.poll(10)
    assert round(scene.slept, 3) >= 10 * POLL_FOR
    assert scene.kafka.asked - asked <= 10


def test_a_worker_that_stops_outside_the_group_does_not_join_again(scene: Scene) -> None:
    scene.poller.leave()
    scene.stop.set()
    scene.poll(3)
    assert (scene.poller.consumer, scene.kafka.asked) == (None, 1)
