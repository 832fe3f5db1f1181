"""The keeper with a store, a broker and a publisher that a test plays: how much it sends at once, and what it says."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from yadtq.core import yadtq_keeper
from yadtq.core.moves.base import Reply
from yadtq.core.yadtq_broker import Record
from yadtq.core.yadtq_codec import Codec
from yadtq.core.yadtq_keeper import BATCH, SWEEPS, Keeper
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_task import Task


class Redis:
    """Its outbox is never empty: each sweep gets the same rows."""

    def __init__(self) -> None:
        self.settings = type("Settings", (), {"time_scale": 1.0})
        self.rows: list[list[bytes]] = []
        self.swept = 0

    def sweep(self, limit: int) -> Reply:
        assert len(self.rows) <= limit
        self.swept += 1
        return Reply("era", 0, [item for row in self.rows for item in row])


class Kafka:
    """Says where tasks go, and whether it is away."""

    def __init__(self) -> None:
        self.codec = Codec(["k1:0123456789abcdef"], required=True)
        self.outage = OutageLog(logging.getLogger(yadtq_keeper.__name__), "Kafka", "it waits in Redis")

    def topic_of(self, queue: str) -> str:
        return f"tasks.{queue}"


class Publisher:
    """Takes records as long as it has room for them."""

    def __init__(self) -> None:
        self.room = 1_000_000
        self.records: list[Record] = []

    def publish(self, records: list[Record]) -> bool:
        if len(self.records) + len(records) > self.room:
            return False
        self.records += records
        return True


class Scene:
    """A keeper and those it works with."""

    def __init__(self) -> None:
        self.store, self.kafka, self.publisher = Redis(), Kafka(), Publisher()
        parts: list[Any] = [self.store, self.kafka, None, self.publisher]
        self.keeper = Keeper(*parts)

    def row(
        self, task_id: str, handbacks: int = 0, codec: Codec | None = None, body: bytes | None = None
    ) -> list[bytes]:
        codec = codec or self.kafka.codec
        body = codec.pack(Task(task_id, "add", (), {})) if body is None else body
        return [task_id.encode(), b"1", b"default", b"%d" % handbacks, codec.seal("tasks.default", body)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_sweep_ends_however_long_the_outbox_is(scene: Scene) -> None:
    scene.store.rows = [scene.row(f"t{number}") for number in range(BATCH)]
    scene.keeper.sweep()
    assert scene.store.swept == SWEEPS
    assert len(scene.publisher.records) == SWEEPS * BATCH


def test_a_sweep_ends_where_the_publisher_has_no_room(scene: Scene) -> None:
    scene.store.rows = [scene.row(f"t{number}") for number in range(BATCH)]
    scene.publisher.room = BATCH
    scene.keeper.sweep()
    assert scene.store.swept == 2
    scene.keeper.sweep()
    assert scene.store.swept == 3


def test_a_sweep_is_short_while_kafka_is_away(scene: Scene) -> None:
    scene.store.rows = [scene.row(f"t{number}") for number in range(BATCH)]
    scene.kafka.outage.down("Kafka at k:1 cannot be reached")
    scene.keeper.sweep()
    assert scene.store.swept == 1


def test_a_sweep_ends_with_the_outbox(scene: Scene) -> None:
    scene.store.rows = [scene.row("t1")]
    scene.keeper.sweep()
    assert scene.store.swept == 1
    assert [record.id for record in scene.publisher.records] == ["t1"]
