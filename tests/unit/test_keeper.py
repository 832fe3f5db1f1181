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
        self.rejected: list[tuple[str, str]] = []  # tasks and why

    def reject_envelope(self, task_id: str, _queue: str, _envelope: bytes, why: str) -> None:
        self.rejected.append((task_id, why))

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


def test_a_task_of_an_unknown_key_is_told_of_once(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_keeper, "MOST_TOLD", 2)
    others = Codec(["k9:fedcba9876543210"], required=True)
    scene.store.rows = [scene.row(f"t{number}", codec=others) for number in range(3)]
    for _ in range(3):
        scene.keeper.sweep()
    assert [record.getMessage() for record in caplog.records] == [
        f"task t{number} is not published from here: it is signed with the unknown key 'k9'" for number in range(2)
    ]
    assert scene.publisher.records == []


def test_a_task_handed_back_whose_name_cannot_be_read_is_rejected_and_takes_no_other_with_it(scene: Scene) -> None:
    scene.store.rows = [scene.row("t1", handbacks=1, body=b"no JSON"), scene.row("t2")]
    scene.keeper.sweep()
    assert scene.store.rejected == [("t1", "its arguments cannot be trusted: not JSON")]
    assert [record.id for record in scene.publisher.records] == ["t2"]
