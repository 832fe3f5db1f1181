"""The claimer beside a Redis and a pool that a test plays: when a suspect gets the worker for itself, and what is logged."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.unit.conftest import Clock
from yadtq.core.moves.base import Reply
from yadtq.core.yadtq_claimer import DRAIN_FOR, Claimer
from yadtq.core.yadtq_codec import Codec
from yadtq.core.yadtq_consumer import Received
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_intake import Intake
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_result_db import ClaimItem
from yadtq.core.yadtq_task import Task
from yadtq.errors import BrokerUnavailable

PLACE = ("tasks", 0)
SUSPECT = 5  # its offset


class Scene:
    """One partition that never runs out of tasks, and four slots; all of it in a time that the test moves."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.codec = Codec([], required=False)
        self.intake = Intake({"tasks": "default"}, 1.0, lambda: None)
        self.lease = Lease(self.intake.settle, lambda _era: None)
        self.capacity, self.backlog = 4, 0
        self.ends: dict[str, float] = {}  # per token of a run
        self.suspect_ran = False
        self.dead_topic_takes = True
        self.random = random.Random(5)
        parts: list[Any] = [self, self, self.intake, self.lease, self, "w", lambda _inc: None]
        self.claimer = Claimer(*parts)
        self._offset = 0

    def put(self, delivery: Delivery) -> None:
        """The pool begins a run, which takes three to nine times as long as a worker first empties itself."""
        self.ends[delivery.token] = self.clock.now + DRAIN_FOR * self.random.uniform(3, 9)

    def claim(self, _inc: str, _worker: str, items: Sequence[ClaimItem], *, era: str) -> Reply:
        """Redis: the suspect runs alone, anything else at once."""
        assert era in ("", "era")
        answers = []
        for item in items:
            suspect = item.id == f"t{SUSPECT}"
            waits = suspect and len(self.lease.held) > 1
            self.suspect_ran |= suspect and not waits
            answers.append(b"ALONE" if waits else b"RUN:1:1:ALONE" if suspect else b"RUN:1:1")
        return Reply("era", 0, answers)

    def reject_record(self, *_about: object) -> Reply:
        return Reply("era", 0, [b"OTHER"])

    def send_dead(
        self,
        _topic: str,
        _record: Received,
        _reason: str,
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        if self.dead_topic_takes:
            done()
        else:
            failed(BrokerUnavailable("Kafka at k:1 cannot be reached"))

    def receive(self, count: int) -> None:
        bodies = [self.codec.pack(Task(f"t{self._offset + n}", "add", (), {})) for n in range(count)]
        self.intake.add(PLACE, [Received(self._offset + n, b"", body, b"1::", 0) for n, body in enumerate(bodies)])
        self._offset += count

    def pass_second(self) -> None:
        self.clock.now += 1.0
        over = [token for token, end in self.ends.items() if end <= self.clock.now]
        for token in over:
            del self.ends[token]
        self.lease.forget(over)
        while self.claimer.step():
            pass


@pytest.fixture
def scene(clock: Clock) -> Scene:
    return Scene(clock)


def test_a_suspect_runs_though_some_run_is_always_longer_than_the_first_tries(scene: Scene) -> None:
    scene.receive(2000)
    for _ in range(600):  # tries of 10, 20, 40, 80 and 160 s, and the work between them
        scene.pass_second()
    assert scene.suspect_ran


def test_a_worker_that_can_run_nothing_claims_no_suspect_either(scene: Scene) -> None:
    scene.receive(20)
    while not scene.claimer._suspects:
        scene.pass_second()
    scene.capacity = 0
    scene.ends = dict.fromkeys(scene.ends, scene.clock.now)  # it is empty in time
    for _ in range(60):
        scene.pass_second()
    assert not scene.lease.held
    assert not scene.suspect_ran


def test_rejected_records_that_cannot_be_put_aside_are_told_of_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.dead_topic_takes = False
    scene.intake.add(PLACE, [Received(offset, b"t", b"no JSON", b"1::", 0) for offset in range(2)])
    for _ in range(20):
        scene.pass_second()
    scene.dead_topic_takes = True
    for _ in range(20):
        scene.pass_second()
    outage, back, *rejected = [record.getMessage() for record in caplog.records]
    assert outage == "Kafka at k:1 cannot be reached; a rejected record is kept and tried again"
    assert "answers again" in back
    assert rejected == [f"rejected the record at tasks/0 offset {offset}: not JSON" for offset in range(2)]
    assert scene.claimer.rejected == 2
