"""The claimer beside a Redis and a pool that a test plays: when a suspect gets the worker for itself, and what is logged."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from tests.unit.conftest import Clock
from yadtq.config import Settings
from yadtq.core.moves.base import Reply
from yadtq.core.yadtq_claimer import DRAIN_FOR, REJECT_AGAIN, Claimer, claim_item
from yadtq.core.yadtq_codec import INLINE_LIMIT, Codec
from yadtq.core.yadtq_consumer import Received
from yadtq.core.yadtq_delivery import Delivery, PartitionState
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
        self.tried = 0  # how often a record was to be put aside
        self.forgotten: list[str] = []
        self.settings = Settings(dead_topic="dead")
        self.no_answers = 0  # claims that get none
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
        answers: list[bytes] = []
        self.no_answers -= 1
        if self.no_answers >= 0:
            return Reply("era", 0, answers)
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
        self.tried += 1
        if self.dead_topic_takes:
            done()
        else:
            failed(BrokerUnavailable("Kafka at k:1 cannot be reached"))

    def forget_topic(self, topic: str) -> None:
        self.forgotten.append(topic)

    def receive(self, count: int) -> None:
        bodies = [self.codec.pack(Task(f"t{self._offset + n}", "add", (), {})) for n in range(count)]
        self.intake.add(PLACE, [Received(self._offset + n, b"", body, b"1:0::", 0) for n, body in enumerate(bodies)])
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
    scene.intake.add(PLACE, [Received(offset, b"t", b"no JSON", b"1:0::", 0) for offset in range(2)])
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


@pytest.mark.parametrize("keys", [[], ["k" * 64 + ":a-secret-of-some-length"]])
def test_a_claim_brings_each_envelope_that_redis_may_have_dropped(keys: list[str]) -> None:
    """Once Kafka has a record, Redis drops a sealed envelope over the limit; nothing else has it when its task is to be retried."""
    broker = Mock(codec=Codec(keys, required=False))
    kept = 0
    for size in range(INLINE_LIMIT - 400, INLINE_LIMIT + 2):
        delivery = Delivery(PartitionState(PLACE, "default"), 0, b"", b"x" * size, b"", 0)
        delivery.task = Task("t", "add", (), {})
        if not claim_item(broker, delivery).envelope:
            kept += 1
            assert len(broker.codec.seal("tasks", delivery.body)) <= INLINE_LIMIT
    assert kept  # small ones go without


def test_while_the_dead_topic_takes_nothing_one_record_is_tried_now_and_then_and_good_ones_are_claimed(
    scene: Scene,
) -> None:
    scene.dead_topic_takes = False
    scene.intake.add(PLACE, [Received(offset, b"t", b"no JSON", b"1:0::", 0) for offset in range(100, 200)])
    scene.receive(0)
    scene._offset = 200
    scene.receive(3)
    scene.pass_second()
    assert (len(scene.ends), scene.tried) == (3, 1)
    for _ in range(100):
        scene.pass_second()
    assert scene.tried <= 101 / REJECT_AGAIN + 1
    assert scene.forgotten == ["dead"] * scene.tried  # so that one that was deleted is made anew


def test_a_suspect_whose_partition_others_have_keeps_the_worker_from_nothing(scene: Scene) -> None:
    scene.receive(8)
    scene.pass_second()
    for _ in range(200):
        if scene.claimer._suspects:
            break
        scene.pass_second()
    assert scene.claimer._suspects
    scene.intake.keep_only(set())
    scene.intake.add(("tasks", 1), [Received(0, b"", scene.codec.pack(Task("good", "add", (), {})), b"1:0::", 0)])
    before = dict(scene.ends)
    assert len(before) < scene.capacity
    scene.claimer.step()
    assert len(scene.ends) == len(before) + 1


def test_a_claim_that_got_no_answers_is_asked_again(scene: Scene) -> None:
    """Redis gives none to a question of an era that is over; the new one may have been entered just before it was sent."""
    scene.no_answers = 1
    scene.receive(3)
    scene.pass_second()
    assert len(scene.ends) == 3
