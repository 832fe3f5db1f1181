"""Partitions that somebody adds to a topic while clients and workers run: known within 30 s, and harmless before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaAdminClient

from tests.helpers import House, eventually, new_settings
from yadtq import TaskStatus
from yadtq.core import yadtq_broker
from yadtq.core.yadtq_broker import Record
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

NEW = 6  # a partition that is there only after the test has added some


@pytest.fixture
def house(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[House]:
    with House(new_settings(kafka, redis_server, partitions=4, time_scale=0.1, retry_backoff=0.05)) as house:
        yield house


def add_partitions(house: House) -> None:
    """To a topic whose old count the producer has just learned."""
    house.broker.ensure_topics([house.settings["topic"]])
    assert house.broker.partition_count(house.settings["topic"]) == 4
    admin = KafkaAdminClient(bootstrap_servers=house.settings["kafka_servers"])
    admin.create_partitions({house.settings["topic"]: 8})
    admin.close()


def send(house: House, partition: int) -> int:
    """The partition a record for this one was written to."""
    written: list[int] = []
    failed: list[BaseException] = []
    record = Record("t", 1, house.settings["topic"], b"{}", b"1:1::", house.store.time_ms(), partition)
    house.broker.send(record, lambda partition, _offset: written.append(partition), failed.append)
    eventually(lambda: written or failed)
    assert not failed
    return written[0]


def test_a_record_for_a_partition_that_the_producer_does_not_know_goes_to_another(house: House) -> None:
    add_partitions(house)
    assert send(house, NEW) in range(4)
    assert send(house, 3) == 3


def test_the_producer_learns_of_added_partitions_by_itself(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert yadtq_broker.METADATA_AGE_MS == 30_000
    monkeypatch.setattr(yadtq_broker, "METADATA_AGE_MS", 500)
    add_partitions(house)
    eventually(lambda: house.broker.partition_count(house.settings["topic"]) == 8)
    assert send(house, NEW) == NEW


def flaky(ctx: Any) -> int:
    if ctx.attempt == 1:
        raise ValueError("once")
    return int(ctx.attempt)


def test_a_worker_hands_back_to_a_new_partition_and_publishes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keeper hears of the partition in another worker's beat, before its producer knows it."""
    worker = house.worker({"flaky": flaky})
    monkeypatch.setattr(worker._keeper, "_other_partition", lambda *_: NEW)
    add_partitions(house)
    unknown = house.client.submit("greet")
    result: Any = house.client.wait_for_result(unknown, timeout=30)
    assert (result.status, result.reason) == (TaskStatus.FAILED, "unknown_task")
    assert house.ended([house.client.submit("flaky")])[0].result == 2
