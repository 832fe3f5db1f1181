"""What tests of every level use."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import redis
from kafka import KafkaAdminClient, OffsetSpec, TopicPartition

from yadtq import TaskClient, TaskResult, TaskWorker, create_yadtq
from yadtq.core.yadtq_views import Views
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], timeout: float = 10.0, *, every: float = 0.02) -> Found:
    """The first true value of ``look()``, or a failure that says how long it was waited for."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found!r} after {timeout:.0f} s: {getattr(look, '__name__', look)}")
        time.sleep(every)
    return found


def new_settings(kafka: EmbeddedKafka, redis_server: EmbeddedRedis, **others: Any) -> dict[str, Any]:
    """Settings for ``create_yadtq`` on these servers with names that nobody else has."""
    unique = f"yt_{uuid.uuid4().hex[:8]}"
    ours = {
        "kafka_servers": kafka.bootstrap_servers,
        "redis_url": redis_server.url,
        "topic": unique,
        "dead_topic": f"{unique}_dead",
        "group_id": unique,
        "redis_prefix": f"{unique}:",
    }
    return {**ours, **others}


class House:
    """A client, the workers beside it, and looks at what they left in the servers; closes all of it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.prefix = settings["redis_prefix"]
        self.broker, self.store = create_yadtq(**settings)
        self.client = TaskClient(self.broker, self.store)
        self.views = Views(self.store)
        self.redis = redis.Redis.from_url(settings["redis_url"], decode_responses=True)
        self._beside: list[House] = []
        self._workers: list[TaskWorker] = []

    def beside(self, **others: Any) -> House:
        """The same names and servers with other settings, closed with this one."""
        self._beside.append(House({**self.settings, **others}))
        return self._beside[-1]

    def worker(self, handlers: Any, *, ready: float = 20.0, **options: Any) -> TaskWorker:
        """A worker that has its partitions; ``ready=0`` does not wait for them."""
        worker = TaskWorker(self.broker, self.store, handlers, **{"grace": 5.0, **options})
        self._workers.append(worker.start())
        assert not ready or worker.wait_ready(ready), "the worker was given no partitions"
        return worker

    def results(self, ids: Sequence[str]) -> list[TaskResult]:
        """The tasks as they are now, in the order asked for."""
        found = self.views.tasks_by_id(ids)
        return [found[task_id] for task_id in ids]

    def ended(self, ids: Sequence[str], timeout: float = 20.0) -> list[TaskResult]:
        """The tasks, once all of them have ended."""

        def all_ended() -> list[TaskResult]:
            found = self.views.tasks_by_id(ids)
            missing = len(ids) - sum(found[task_id].done for task_id in ids if task_id in found)
            return [found[task_id] for task_id in ids] if not missing else []

        try:
            return eventually(all_ended, timeout, every=0.05)
        except AssertionError:
            found = self.views.tasks_by_id(ids)
            left = [found.get(task_id, task_id) for task_id in ids if task_id not in found or not found[task_id].done]
            raise AssertionError(f"{len(left)} of {len(ids)} tasks have not ended, such as {left[0]}") from None

    def reaches(self, task_id: str, status: str, timeout: float = 10.0) -> TaskResult:
        """The task, once it is seen in this state."""

        def reached() -> TaskResult | None:
            result = self.client.get_result(task_id)
            return result if result.status == status else None

        try:
            return eventually(reached, timeout, every=0.01)
        except AssertionError:
            raise AssertionError(f"not {status}: {self.client.get_result(task_id)}") from None

    def row_exists(self, kind: str, task_id: str) -> bool:
        """Whether Redis has this key of the task."""
        return bool(self.redis.exists(f"{self.prefix}{kind}:{task_id}"))

    def lag(self, queue: str = "default") -> int:
        """Records of a queue behind which the workers' group has not committed, by Kafka's own word."""
        topic, group = self.broker.topic_of(queue), self.settings["group_id"]
        admin = KafkaAdminClient(bootstrap_servers=self.settings["kafka_servers"])
        try:
            parts = admin.describe_topics([topic])[0]["partitions"]
            partitions = [TopicPartition(topic, part["partition_index"]) for part in parts]
            ends = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
            committed = admin.list_group_offsets(group)[group]
        finally:
            admin.close()
        return sum(ends[tp].offset - (max(committed[tp].offset, 0) if tp in committed else 0) for tp in partitions)

    def dismiss(self) -> None:
        """Tell the workers to stop, and wait for none of them."""
        for house in (*self._beside, self):
            for worker in house._workers:
                worker.stop(wait=False)

    def close(self) -> None:
        """Stop the workers, all at once, then drop the connections."""
        self.dismiss()
        for house in (*self._beside, self):
            for worker in house._workers:
                worker.stop()
            house.client.close()
            house.broker.close()
            house.store.close()
            house.redis.close()

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Gate:
    """A place in a task where the test is told that the task has come, and lets it through."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()

    def wait(self) -> None:
        """For the task; in short waits, so that an error raised in its thread is heard."""
        self.reached.set()
        while not self.opened.wait(0.01):
            pass


class Crowd:
    """Runs that wait at one gate, counted by the tasks' numbers."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.begun: Counter[int] = Counter()

    def hold(self, number: int) -> int:
        self.begun[number] += 1
        self.gate.wait()
        return number
