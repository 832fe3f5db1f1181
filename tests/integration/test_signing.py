"""Signatures under running workers: keys rotated, records replayed and forged, tasks nobody may run."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from tests.helpers import House, eventually
from yadtq import TaskWorker
from yadtq.core.yadtq_codec import HEADER, INLINE_LIMIT, Stamp
from yadtq.core.yadtq_consumer import Received
from yadtq.core.yadtq_result_db import NewTask

OLD, NEW = "k1:a-secret-of-yesterday", "k2:a-secret-of-the-present-day"
Fresh = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(fresh_settings: Fresh) -> dict[str, Any]:
    found = fresh_settings(time_scale=0.1, partitions=1)
    return {**found, "dead_topic": f"{found['topic']}_dead"}


def own_record(house: House, task_id: str) -> Received:
    """The record of a task, once its place is known."""
    where = eventually(lambda: r if (r := house.client.get_result(task_id)).offset is not None else None)
    found = house.broker.read_back(house.settings["topic"], where.partition, where.offset)
    assert found is not None
    return found


def write(house: House, key: str, body: bytes, header: bytes) -> None:
    """As anybody who may write to the topic."""
    producer = KafkaProducer(bootstrap_servers=house.settings["kafka_servers"])
    producer.send(house.settings["topic"], body, key=key.encode(), headers=[(HEADER, header)]).get(timeout=10)
    producer.close()


def has_dead(house: House, count: int) -> bool:
    """Whether exactly so many records are in the dead topic."""
    house.broker.ensure_topics([house.settings["dead_topic"]])
    positions = house.broker.group_positions([house.settings["dead_topic"]])
    return sum(end for _first, _committed, end in positions.values()) == count


def enqueue_alone(house: House, task_id: str, *args: Any) -> None:
    """Accepted, and its client dies before Kafka has it."""
    body = json.dumps({"v": 1, "id": task_id, "name": "record", "args": args, "kwargs": {}, "opts": {}}).encode()
    envelope = house.broker.codec.seal(house.settings["topic"], body)
    house.store.enqueue([NewTask(task_id, "record", "default", envelope, "", "1")])


@pytest.mark.parametrize("size", [10, 5000])
def test_a_task_submitted_unsigned_before_any_worker_was_there_fails_as_rejected(
    settings: dict[str, Any], size: int
) -> None:
    ran: list[str] = []
    with House(settings) as unsigned:
        task_id = unsigned.client.submit("record", "x" * size)
        own_record(unsigned, task_id)
        unsigned.beside(signing_keys=[NEW]).worker({"record": ran.append})
        result = unsigned.reaches(task_id, "failed")
        assert (result.reason, result.error) == ("rejected", "its record was rejected: not signed")
        eventually(lambda: has_dead(unsigned, 1))
        assert ran == []


def test_an_unsigned_task_that_kafka_never_got_fails_as_rejected(settings: dict[str, Any]) -> None:
    ran: list[str] = []
    with House(settings) as unsigned:
        enqueue_alone(unsigned, "t1", 1)
        unsigned.beside(signing_keys=[NEW]).worker({"record": ran.append})
        result = unsigned.reaches("t1", "failed", 20)
        assert (result.reason, result.error) == ("rejected", "its arguments cannot be trusted: not signed")
        assert ran == []


def test_rubbish_with_other_peoples_ids_fails_none_of_their_tasks(settings: dict[str, Any]) -> None:
    ran: list[str] = []
    with House({**settings, "signing_keys": [NEW]}) as house:
        ids = [house.client.submit("record", str(number)) for number in range(3)]
        records = [own_record(house, task_id) for task_id in ids]
        rubbish = [
            (b"rubbish", b"1:1::"),
            (records[0].body, b"1:1::"),
            (records[0].body[:-5], records[0].header or b""),
        ]
        for task_id in ids:
            for body, header in rubbish:
                write(house, task_id, body, header)
        late = house.client.options(delay=2).submit("record", "late")
        write(house, late, *rubbish[0])
        house.worker({"record": ran.append})
        assert all(result.ok for result in house.ended([*ids, late]))
        eventually(lambda: has_dead(house, 10))
        assert sorted(ran) == ["0", "1", "2", "late"]


def test_rubbish_that_comes_before_the_real_record_does_not_fail_the_task(settings: dict[str, Any]) -> None:
    """The row has no coordinates yet: the rubbish is kept until it has, and is then seen to be another record."""
    ran: list[str] = []
    with House({**settings, "signing_keys": [NEW]}) as house:
        house.worker({"record": ran.append})
        enqueue_alone(house, "t1", "real")
        write(house, "t1", b"rubbish", b"1:1::")
        assert house.client.wait_for_result("t1", timeout=20).ok  # the keeper publishes it
        eventually(lambda: has_dead(house, 1))
        assert ran == ["real"]


def test_a_record_replayed_after_a_retry_by_a_person_is_not_run(settings: dict[str, Any]) -> None:
    ran: list[int] = []

    def fail_first(number: int) -> None:
        ran.append(number)
        if len(ran) == 1:
            raise ValueError("not yet")

    with House({**settings, "signing_keys": [NEW]}) as house:
        house.worker({"record": fail_first})
        task_id = house.client.options(retries=0).submit("record", 7)
        house.reaches(task_id, "failed")
        first = own_record(house, task_id)
        house.client.retry(task_id)
        house.reaches(task_id, "success")
        second = own_record(house, task_id)
        assert first.offset < second.offset
        assert first.header != second.header
        for record in (first, second, first):
            write(house, task_id, record.body, record.header or b"")
        eventually(lambda: house.lag() == 0, 10, every=0.2)
        assert ran == [7, 7]
        assert house.client.get_result(task_id).ok


def test_a_record_replayed_after_its_row_has_vanished_is_not_run(settings: dict[str, Any]) -> None:
    """Its time is signed: Kafka's own, which whoever writes to the topic chooses, makes no old record young."""
    ran: list[str] = []
    with House({**settings, "signing_keys": [NEW]}) as house:
        house.worker({"record": ran.append})
        task_id = house.client.submit("record", "once")
        house.reaches(task_id, "success")
        topic, body = house.settings["topic"], own_record(house, task_id).body
        house.redis.delete(f"{house.prefix}t:{task_id}", f"{house.prefix}gaps")  # its time is over
        two_days_ago = house.store.time_ms() - 2 * 86_400_000
        write(house, task_id, body, house.broker.codec.header(topic, Stamp(1, two_days_ago), body))
        eventually(lambda: house.lag() == 0, 10, every=0.2)
        assert ran == ["once"]
        write(house, task_id, body, house.broker.codec.header(topic, Stamp(1, house.store.time_ms()), body))
        eventually(lambda: ran == ["once", "once"])  # a young one without a row, Redis has lost


def test_a_task_just_within_the_inline_limit_is_retried_however_it_is_signed(settings: dict[str, Any]) -> None:
    """Its body is within it, its envelope in Redis is not: the signature comes on top."""
    runs: Counter[str] = Counter()

    def fail_first(text: str) -> None:
        runs[text] += 1
        if runs[text] == 1:
            raise ValueError("not yet")

    with House({**settings, "signing_keys": [NEW], "retry_backoff": 0.05}) as house:
        texts = ["x" * size for size in range(INLINE_LIMIT - 240, INLINE_LIMIT, 8)]
        ids = house.client.submit_many([("record", (text,)) for text in texts])
        eventually(lambda: not house.redis.zcard(f"{house.prefix}outbox"))
        house.worker({"record": fail_first})
        assert [result.error for result in house.ended(ids) if not result.ok] == []
        assert set(runs.values()) == {2}


def test_keys_are_rotated_under_running_workers_and_no_task_is_lost_or_rejected(settings: dict[str, Any]) -> None:
    """The order of docs/security.md, each step on the workers first; a client submits all the time."""
    ran: list[str] = []
    with House({**settings, "signing_keys": [OLD]}) as house:
        steps = [house.beside(signing_keys=keys) for keys in ([OLD], [OLD, NEW], [NEW, OLD])]
        workers = [worker_of(steps[0], ran) for _ in range(2)]
        waiting = steps[0].client.options(delay=3).submit("record", "delayed")
        ids, clients, stop = [waiting], [steps[0].client], threading.Event()

        def submit_on() -> None:
            while not stop.wait(0.02):
                ids.append(clients[-1].submit("record", str(len(ids))))

        submitting = threading.Thread(target=submit_on)
        submitting.start()
        for step in steps[1:]:
            workers = replaced(workers, step, ran)
            clients.append(step.client)
        stop.set()
        submitting.join()
        assert all(result.ok for result in house.ended(ids, 30))
        assert sorted(ran) == sorted(["delayed", *map(str, range(1, len(ids)))])
        last = house.beside(signing_keys=[NEW])  # nothing signed with the old one is left
        replaced(workers, last, ran)
        assert last.client.wait_for_result(last.client.submit("record", "new"), timeout=20).ok
        admin = KafkaAdminClient(bootstrap_servers=settings["kafka_servers"])
        assert settings["dead_topic"] not in admin.list_topics()  # it is made for the first rejected record
        admin.close()


def replaced(workers: list[TaskWorker], house: House, ran: list[str]) -> list[TaskWorker]:
    """As a rolling restart does it."""
    new = [worker_of(house, ran) for _ in workers]
    for worker in workers:
        worker.stop()
    return new


def worker_of(house: House, ran: list[str]) -> TaskWorker:
    """One more worker of this house; with one partition, it may have to wait for it."""
    return house.worker({"record": ran.append}, ready=0)
