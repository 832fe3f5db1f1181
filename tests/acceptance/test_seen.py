"""Every row of "What each fault looks like" in docs/operations.md, played: what the worker's log says and how often, the client's error, the pages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, TopicPartition

from tests.acceptance.conftest import Start
from tests.acceptance.seen import Scene, Stage, warnings
from tests.conftest import started_or_skipped
from tests.helpers import eventually
from yadtq import TaskStatus
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CLIENT = """
import json, os, sys
from yadtq import TaskClient, create_yadtq
client = TaskClient(*create_yadtq(**json.loads(sys.argv[1])))
client._publisher.publish = lambda *_: None
print(client.submit("add", 2, 3), flush=True)
os._exit(9)
"""


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A Kafka that these tests may kill."""
    server = EmbeddedKafka(tmp_path_factory.mktemp("own-kafka"), ports=[0])
    yield started_or_skipped(server)
    server.stop()


@pytest.fixture
def stage(own_kafka: EmbeddedKafka, own_redis: EmbeddedRedis, start: Start, tmp_path: Path) -> Iterator[Stage]:
    own_redis.start()
    own_kafka.start()
    made = Stage(own_kafka, own_redis, start, tmp_path)
    yield made
    own_redis.start()
    made.close()
    for worker in made.workers:
        worker.kill()


# -- the rows ------------------------------------------------------------------------------------------------


def client_dies(stage: Stage) -> None:
    """Redis has its task, and it has sent nothing to Kafka."""
    worker = stage.worker("w1")
    command = [sys.executable, "-c", CLIENT, json.dumps(stage.house.settings)]
    died = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert died.returncode == 9
    assert stage.wait(died.stdout.strip()).result == 5
    assert (warnings(worker), stage.alarms()) == ([], [])


def worker_dies(stage: Stage) -> None:
    first = stage.worker("w1")
    task_id = stage.hold()
    second = stage.worker("w2")
    os.kill(first.pid, signal.SIGKILL)
    stage.open()
    assert stage.wait(task_id).lost == 1
    stage.heard(second, "has not answered for 3 s: its tasks go back to their queues")
    stage.shows("/workers", "w1 Offline", "w2")
    stage.shows(f"/tasks/{task_id}", "the worker stopped answering")
    assert len(warnings(second)) == 1


def worker_paused(stage: Stage) -> None:
    first = stage.worker("w1")
    task_id = stage.hold()
    second = stage.worker("w2")
    os.kill(first.pid, signal.SIGSTOP)
    stage.heard(second, "has not answered for 3 s")
    stage.open()
    os.kill(first.pid, signal.SIGCONT)
    stage.heard(first, "was declared dead while it was away; it goes on as a new one, late outcomes are dropped")
    assert stage.wait(task_id).lost == 1
    stage.shows("/", "1 late outcome was dropped in the last hour.")


def redis_away(stage: Stage) -> None:
    worker = stage.worker("w1")
    task_id = stage.hold()
    stage.redis.kill()
    stage.heard(worker, f"Redis at 127.0.0.1:{stage.redis.port} cannot be reached; start Redis there")
    assert "cannot be reached; start Redis there or set YADTQ_REDIS_URL" in stage.refused()
    stage.shows("/tasks", "Redis is down")
    assert stage.web.stranger().get("/readyz").status_code == 503
    stage.open()
    stage.redis.start()
    assert stage.wait(task_id).attempts == 1
    stage.heard(worker, "Redis answers again after")
    stage.heard(worker, "Redis at")
    assert "Redis is down" not in stage.page("/tasks")


def redis_older(stage: Stage) -> None:
    worker = stage.worker("w1")
    held = [stage.hold(), stage.hold()]
    kept, aof = stage.folder / "older", stage.redis.data_dir / "appendonlydir"
    shutil.copytree(aof, kept)
    late = stage.house.client.submit_many([("add", (n, 1)) for n in range(3)])
    stage.published()
    stage.redis.kill()
    shutil.rmtree(aof)
    shutil.copytree(kept, aof)
    stage.redis.start()
    stage.open()
    assert {result.status for result in stage.house.ended([*held, *late], timeout=60)} == {TaskStatus.SUCCESS}
    stage.heard(worker, "Redis has restarted, gone back or been emptied: its state is checked against Kafka")
    stage.shows("/tasks", "State rebuilt from Kafka: 3 tasks in the last hour.")
    assert len(warnings(worker, "Redis at")) <= 1


def redis_emptied(stage: Stage) -> None:
    worker = stage.worker("w1")
    held = [stage.hold(), stage.hold()]
    late = stage.house.client.submit_many([("add", (n, 1)) for n in range(3)])
    stage.published()
    stage.house.redis.flushall()
    stage.open()
    stage.heard(worker, "Redis has restarted, gone back or been emptied: its state is checked against Kafka")
    assert {result.status for result in stage.house.ended([*held, *late], timeout=60)} == {TaskStatus.SUCCESS}
    stage.visitor = stage.web.signed_in("viewer")  # users and sessions are gone
    stage.shows("/tasks", "State rebuilt from Kafka: 5 tasks in the last hour.")
    assert len(warnings(worker)) == 1


def redis_full(stage: Stage) -> None:
    worker = stage.worker("w1")
    task_id = stage.hold()
    stage.house.redis.config_set("maxmemory", "1mb")
    try:
        stage.shows("/tasks", "Redis is full. New tasks and retries are refused")
        assert "is full (maxmemory reached): nothing new is accepted" in stage.refused()
        stage.open()
        assert stage.wait(task_id).ok
    finally:
        stage.house.redis.config_set("maxmemory", "0")
    eventually(lambda: stage.alarms() == [], 20, every=0.3)
    assert warnings(worker) == []


def kafka_away(stage: Stage) -> None:
    worker = stage.worker("w1")
    running = stage.hold()
    stage.kafka.nodes[0].kill()
    ids = [stage.house.client.submit("add", number, 1) for number in range(3)]
    stage.heard(worker, f"Kafka at {stage.kafka.nodes[0].address} cannot be reached; start Kafka there")
    stage.shows("/tasks", "Kafka cannot be reached: 3 tasks wait in the outbox.")
    stage.open()
    assert stage.wait(running).ok
    stage.kafka.start()
    assert {result.status for result in stage.house.ended(ids, timeout=60)} == {TaskStatus.SUCCESS}
    stage.heard(worker, "Kafka answers again after")
    stage.heard(worker, "Kafka at")
    eventually(lambda: stage.alarms() == [], 60, every=0.3)


def rebalance(stage: Stage) -> None:
    first = stage.worker("w1")
    task_id = stage.hold()
    second = stage.worker("w2")
    stage.open()
    result = stage.wait(task_id)
    assert (result.attempts, result.lost) == (1, 0)
    assert (warnings(first), warnings(second), stage.alarms()) == ([], [], [])


def record_twice(stage: Stage) -> None:
    worker, house = stage.worker("w1"), stage.house
    task_id = house.client.submit("add", 2, 3)
    assert stage.wait(task_id).ok
    where = eventually(lambda: r if (r := house.client.get_result(task_id)).offset is not None else None, 20)
    topic = house.settings["topic"]
    record = house.broker.read_back(topic, where.partition, where.offset)
    house.broker.producer().send(topic, record.body, headers=[("yadtq", record.header)], key=task_id.encode())
    eventually(lambda: house.lag() == 0, 30, every=0.3)
    assert house.client.get_result(task_id).attempts == 1
    assert (warnings(worker), stage.alarms()) == ([], [])


def task_kills(stage: Stage) -> None:
    worker = stage.worker("w1", "--pool", "process")
    task_id = stage.house.client.submit("leave")
    result = stage.wait(task_id)
    assert (result.status, result.reason, result.lost) == (TaskStatus.FAILED, "worker_lost", 3)
    stage.heard(worker, f"task leave ({task_id}): its process ended with exit code 4", times=3)
    stage.shows(f"/tasks/{task_id}", "Attempt 1 lost its worker on w1", "its process ended with exit code 4")
    stage.shows("/", "three runs died; the last: its process ended with exit code 4")  # its group
    assert len(warnings(worker)) == 3


def task_hangs(stage: Stage) -> None:
    worker = stage.worker("w1")
    task_id = stage.house.client.submit("deaf", str(stage.gate))
    assert stage.wait(task_id).reason == "timeout"
    stage.heard(worker, "its thread was given up and may still be at it: what it returns later is dropped")
    (one,) = [one for one in stage.house.views.workers() if one.online]
    stage.shows(f"/workers/{one.id}", "1 hung past their time limit")
    stage.shows(f"/tasks/{task_id}", "ran longer than 0.3 s; its thread was given up")
    assert len(warnings(worker)) == 1


def record_gone(stage: Stage) -> None:
    """Two tasks that Kafka has deleted unread; the arguments of one were too large to be in Redis as well."""
    house, topic = stage.house, stage.house.settings["topic"]
    small, large = house.client.submit("add", 2, 3), house.client.submit("add", 2, 3, "x" * 3000)
    stage.published()
    admin = KafkaAdminClient(bootstrap_servers=house.settings["kafka_servers"])
    admin.delete_records({TopicPartition(topic, number): -1 for number in range(4)})  # all there are
    admin.close()
    for task_id in (small, large):
        house.redis.zincrby(f"{house.prefix}index:queued", -3600e6, task_id)  # as if an hour had passed
    worker = stage.worker("w1")
    assert stage.wait(small).result == 5
    assert stage.wait(large).status == TaskStatus.FAILED
    stage.heard(worker, "queued tasks had no record left in Kafka and are published again")
    stage.shows(f"/tasks/{large}", "Kafka deleted its record unread: raise the retention")
    stage.shows("/", "Kafka deleted its record unread: raise the retention")


def one_node_dies(stage: Stage) -> None:
    """Of three."""
    worker = stage.worker("w1")
    task_id = stage.hold()
    stage.kafka.nodes[0].kill()
    ids = [stage.house.client.submit("add", number, 1) for number in range(20)]
    stage.open()
    assert {result.status for result in stage.house.ended([task_id, *ids], timeout=60)} == {TaskStatus.SUCCESS}
    stage.published()
    assert (warnings(worker), stage.alarms()) == ([], [])


ROWS: list[Scene] = [
    client_dies,
    worker_dies,
    worker_paused,
    redis_away,
    redis_older,
    redis_emptied,
    redis_full,
    kafka_away,
    rebalance,
    record_twice,
    task_kills,
    task_hangs,
    record_gone,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_what_a_person_sees(stage: Stage, row: Scene) -> None:
    row(stage)
    assert not any("Traceback" in worker.output for worker in stage.workers)


def test_nobody_sees_that_one_node_of_three_died(
    tmp_path_factory: pytest.TempPathFactory, own_redis: EmbeddedRedis, start: Start, tmp_path: Path
) -> None:
    own_redis.start()
    server = EmbeddedKafka(tmp_path_factory.mktemp("three-kafkas"), nodes=3, ports=[0] * 3)
    with started_or_skipped(server):
        stage = Stage(server, own_redis, start, tmp_path)
        try:
            one_node_dies(stage)
        finally:
            stage.close()
            for worker in stage.workers:
                worker.kill()
