"""Workers while a server is away, comes back, goes back, or is emptied: nothing is lost, every id ends once."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import started_or_skipped
from tests.helpers import Crowd, Gate, House, eventually, new_settings
from yadtq import BrokerUnavailable, TaskStatus
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A Kafka that these tests may kill."""
    server = EmbeddedKafka(tmp_path_factory.mktemp("own-kafka"), ports=[0])
    yield started_or_skipped(server)
    server.stop()


@pytest.fixture
def house(own_kafka: EmbeddedKafka, own_redis: EmbeddedRedis) -> Iterator[House]:
    own_redis.start()
    own_kafka.start()
    with House(new_settings(own_kafka, own_redis, time_scale=0.2, partitions=4, retry_backoff=0.05)) as house:
        yield house
        own_redis.start()
        own_kafka.start()


def count_slowly(number: int, pause: Gate = Gate()) -> int:  # noqa: B008 - one gate, never opened
    """Takes 10 ms, so that a server goes away in the middle of a batch of these."""
    pause.opened.wait(0.01)
    return number


def some_have_ended(house: House, ids: list[str]) -> bool:
    ended = house.views.counts()[TaskStatus.SUCCESS]
    return 0 < ended < len(ids)


def lines_about(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    """What YADTQ has warned of so far, if it holds these words."""
    records = [record for record in caplog.records if record.name.startswith("yadtq.")]
    return [line for record in records if words in (line := record.getMessage()) and record.levelno >= logging.WARNING]


# -- Redis ---------------------------------------------------------------------------------------------


def test_redis_killed_and_restarted_under_a_worker_loses_nothing(house: House, own_redis: EmbeddedRedis) -> None:
    house.worker({"count": count_slowly})
    ids = house.client.submit_many([("count", (number,)) for number in range(2000)])
    eventually(lambda: some_have_ended(house, ids))
    own_redis.kill()
    own_redis.start()
    results = house.ended(ids, timeout=40)
    assert [result.result for result in results] == list(range(2000))
    eventually(lambda: house.lag() == 0, 15, every=0.2)


def test_what_runs_while_redis_is_away_ends_once_when_it_is_back(
    house: House, own_redis: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    crowd = Crowd()
    house.worker({"hold": crowd.hold}, concurrency=4)
    ids = house.client.submit_many([("hold", (number,)) for number in range(40)])
    eventually(lambda: len(crowd.begun) == 4)
    eventually(lambda: house.views.outbox_size() == 0)
    own_redis.kill()
    crowd.gate.opened.set()  # the four end, and their outcomes are held
    eventually(lambda: lines_about(caplog, "Redis at"))
    own_redis.start()
    results = house.ended(ids, timeout=30)
    assert [result.result for result in results] == list(range(40))
    assert crowd.begun == dict.fromkeys(range(40), 1)
    assert {result.attempts for result in results} == {1}
    assert len(lines_about(caplog, f"Redis at 127.0.0.1:{own_redis.port}")) == 1  # one line, not one a try
    assert len(lines_about(caplog, "answers again")) == 1


def test_an_emptied_redis_is_rebuilt_from_what_kafka_has_not_let_go(house: House, own_redis: EmbeddedRedis) -> None:
    crowd = Crowd()
    house.worker({"hold": crowd.hold, "count": count_slowly}, concurrency=4)
    done = house.client.submit_many([("count", (number,)) for number in range(20)])
    house.ended(done)  # just now: these are not committed yet, and asserted again
    ids = house.client.submit_many([("hold", (number,)) for number in range(200)])
    eventually(lambda: len(crowd.begun) == 4)
    eventually(lambda: house.views.outbox_size() == 0)
    house.redis.flushall()
    crowd.gate.opened.set()
    results = house.ended([*done, *ids], timeout=40)
    assert [result.result for result in results] == [*range(20), *range(200)]
    assert house.views.totals()["rebuilt"] >= 196
    assert max(crowd.begun.values()) <= 2
    eventually(lambda: house.lag() == 0, 15, every=0.2)


def test_a_big_task_rebuilt_after_redis_was_emptied_can_still_be_retried(house: House) -> None:
    gate, payload = Gate(), "x" * 50_000

    def refuse_first(text: str, ctx: Any) -> int:
        gate.wait()
        if ctx.attempt < 2:
            raise ValueError("once more")
        return len(text)

    house.worker({"refuse_first": refuse_first})
    task_id = house.client.submit("refuse_first", payload)
    assert gate.reached.wait(10)
    house.redis.flushall()
    eventually(lambda: house.row_exists("t", task_id))
    gate.opened.set()
    assert house.client.wait_for_result(task_id, timeout=20).result == len(payload)


def test_a_redis_that_went_back_to_an_older_second_loses_nothing(
    house: House, own_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    crowd = Crowd()
    house.worker({"hold": crowd.hold, "count": count_slowly}, concurrency=4)
    early = house.client.submit_many([("hold", (number,)) for number in range(20)])
    eventually(lambda: len(crowd.begun) == 4)
    shutil.copytree(own_redis.data_dir / "appendonlydir", tmp_path / "older")
    late = house.client.submit_many([("count", (number,)) for number in range(50)])
    eventually(lambda: house.views.outbox_size() == 0)
    crowd.gate.opened.set()
    house.ended(early)  # and Redis will have forgotten that
    own_redis.kill()
    shutil.rmtree(own_redis.data_dir / "appendonlydir")
    shutil.copytree(tmp_path / "older", own_redis.data_dir / "appendonlydir")
    own_redis.start()
    results = house.ended([*early, *late], timeout=40)
    assert [result.result for result in results] == [*range(20), *range(50)]
    assert crowd.begun == dict.fromkeys(range(20), 1)  # finished again, not run again


def test_records_found_needless_just_before_redis_went_do_not_hold_the_partition_back(
    own_kafka: EmbeddedKafka, own_redis: EmbeddedRedis
) -> None:
    """What the old Redis confirmed proves nothing: they are read and asked for again."""
    own_redis.start()
    own_kafka.start()
    with House(new_settings(own_kafka, own_redis, time_scale=0.2, partitions=1)) as house:
        for task_id in house.client.submit_many([("count", (number,)) for number in range(20)]):
            house.client.cancel(task_id)
        last = house.client.submit("count", 20)
        house.worker({"count": count_slowly})
        assert house.client.wait_for_result(last, timeout=20).ok
        own_redis.kill()
        own_redis.start()
        assert house.lag() > 0
        eventually(lambda: house.lag() == 0, 20, every=0.2)


# -- Kafka ---------------------------------------------------------------------------------------------


def test_kafka_killed_and_restarted_under_a_worker_loses_nothing(house: House, own_kafka: EmbeddedKafka) -> None:
    crowd = Crowd()
    house.worker({"hold": crowd.hold, "count": count_slowly}, concurrency=4)
    held = house.client.submit_many([("hold", (number,)) for number in range(4)])
    eventually(lambda: len(crowd.begun) == 4)
    queued = house.client.submit_many([("count", (number,)) for number in range(200)])
    own_kafka.nodes[0].kill()
    meanwhile = house.client.submit_many([("count", (number,)) for number in range(50)])
    crowd.gate.opened.set()
    assert {result.status for result in house.ended(held)} == {TaskStatus.SUCCESS}  # Kafka is not needed for this
    own_kafka.start()
    results = house.ended([*held, *queued, *meanwhile], timeout=45)
    assert [result.result for result in results] == [*range(4), *range(200), *range(50)]
    assert {result.attempts for result in results} == {1}
    assert crowd.begun == dict.fromkeys(range(4), 1)
    eventually(lambda: house.lag() == 0, 20, every=0.2)


def test_kafka_away_for_longer_than_a_send_is_tried_is_caught_up_with(
    house: House, own_kafka: EmbeddedKafka, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sends that were under way when it went have failed by then; client and worker publish again nevertheless."""
    caplog.set_level(logging.WARNING, logger="kafka")  # a command that ran in this process before has silenced it
    house.worker({"count": count_slowly})
    connection = house.broker._connection
    monkeypatch.setattr(house.broker, "_connection", lambda: {**connection(), "request_timeout_ms": 2000})
    monkeypatch.setattr("yadtq.core.yadtq_broker.DELIVERY_TIMEOUT", 3.0)  # instead of 15
    before = house.client.submit_many([("count", (number,)) for number in range(20)])
    house.ended(before)
    node = own_kafka.nodes[0]
    assert node.pid is not None
    os.kill(node.pid, signal.SIGSTOP)
    ids = [house.client.submit("count", number) for number in range(20)]
    sender = house.broker.producer()._sender
    eventually(lambda: sender._client.in_flight_request_count() > 0)  # sent, and never to be answered
    node.kill()
    expired = "Failed to produce messages"  # kafka-python's words, once a send that was under way is given up
    eventually(lambda: any(record.getMessage().startswith(expired) for record in caplog.records), 30)
    own_kafka.start()
    results = house.ended([*before, *ids], timeout=30)
    assert [result.result for result in results] == [*range(20), *range(20)]
    later = house.client.submit("count", 7)
    eventually(lambda: house.views.outbox_size() == 0)
    assert house.client.wait_for_result(later, timeout=10).result == 7


# -- both ----------------------------------------------------------------------------------------------


def test_a_worker_that_starts_before_its_servers_says_so_once_and_then_works(
    house: House, own_redis: EmbeddedRedis, own_kafka: EmbeddedKafka, caplog: pytest.LogCaptureFixture
) -> None:
    own_redis.kill()
    own_kafka.nodes[0].kill()
    house.worker({"count": count_slowly}, ready=0)
    redis_line = f"Redis at 127.0.0.1:{own_redis.port} cannot be reached; start Redis there or set YADTQ_REDIS_URL"
    kafka_line = f"Kafka at {own_kafka.nodes[0].address} cannot be reached; start Kafka there or set YADTQ_KAFKA_"
    eventually(lambda: lines_about(caplog, redis_line), 10)
    own_redis.start()
    eventually(lambda: lines_about(caplog, kafka_line), 10)
    own_kafka.start()
    task_id = house.client.submit("count", 7)
    assert house.client.wait_for_result(task_id, timeout=30).result == 7
    assert len(lines_about(caplog, redis_line)) == len(lines_about(caplog, kafka_line)) == 1


@pytest.fixture
def kafkaless(own_kafka: EmbeddedKafka, own_redis: EmbeddedRedis) -> Iterator[House]:
    """A house whose Kafka is not there."""
    own_redis.start()
    settings = {**new_settings(own_kafka, own_redis, time_scale=0.2), "kafka_servers": ["127.0.0.1:9"]}
    with House(settings) as house:
        yield house
        own_redis.start()


def test_a_worker_that_waits_for_its_servers_stops_when_it_is_told_to(
    kafkaless: House, own_redis: EmbeddedRedis
) -> None:
    waiting_for_kafka = kafkaless.worker({"count": count_slowly}, ready=0)
    eventually(kafkaless.views.workers)  # Redis has heard of it
    own_redis.kill()
    waiting_for_redis = kafkaless.worker({"count": count_slowly}, ready=0)
    for worker in (waiting_for_kafka, waiting_for_redis):
        worker.stop(wait=False)
        assert worker._thread is not None
        worker._thread.join(8)
        assert not worker._thread.is_alive()


def test_a_worker_that_waits_for_kafka_goes_on_beating_and_keeps_house(kafkaless: House) -> None:
    kafkaless.worker({"count": count_slowly}, ready=0)
    eventually(kafkaless.views.workers)
    delayed = kafkaless.client.options(delay=1).submit("count", 7)
    kafkaless.reaches(delayed, "queued")
    time.sleep(kafkaless.store.offline_after + 1)
    (worker,) = kafkaless.views.workers()
    assert worker.online
    assert "cannot be reached" in worker.kafka_trouble


def test_a_worker_that_waits_for_kafka_obeys_and_takes_leave(kafkaless: House) -> None:
    before = set(threading.enumerate())
    worker = kafkaless.worker({"count": count_slowly}, ready=0, name="early")
    eventually(kafkaless.views.workers)
    kafkaless.client.shut_down_worker("early")
    assert worker._thread is not None
    worker._thread.join(10)
    assert not worker._thread.is_alive()
    assert [info.stopped for info in kafkaless.views.workers()] == [True]
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not [name for name in left if name.startswith("yadtq-") and name != "yadtq-exit"]


def test_a_redis_emptied_while_a_worker_waits_for_kafka_does_no_harm(house: House, own_kafka: EmbeddedKafka) -> None:
    own_kafka.nodes[0].kill()
    house.worker({"count": count_slowly}, ready=0)
    eventually(house.views.workers)
    house.redis.flushall()
    eventually(house.views.workers)  # it beats, and so tells the new one
    ids = house.client.submit_many([("count", (number,)) for number in range(20)])
    own_kafka.start()
    assert [result.result for result in house.ended(ids, timeout=40)] == list(range(20))


def test_waiting_for_kafka_leaves_no_threads_behind(kafkaless: House) -> None:
    """kafka-python's clients keep their thread when they could not connect."""
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            kafkaless.broker.ensure_topics(["nowhere"])
    assert threading.active_count() == before
