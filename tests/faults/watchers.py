"""What is seen while a test runs: which outcomes Redis accepts, and whether an offset was committed too early."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

import redis
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from tests.helpers import House
from yadtq.core.yadtq_intake import DETACH_AFTER
from yadtq.core.yadtq_task import TaskResult, TaskStatus
from yadtq.errors import ResultStoreUnavailable

LOOK_EVERY = 0.5  # seconds


class OutcomeWatcher(threading.Thread):
    """Hears of every end of a task as Redis publishes it, and reads the outcome that was accepted."""

    def __init__(self, house: House) -> None:
        super().__init__(name="outcomes", daemon=True)
        self.outcomes: dict[str, set[tuple[str, Any]]] = defaultdict(set)  # id → (status, the accepted run's fence)
        self.ended_at: dict[str, float] = {}  # seconds since the epoch, the first time
        self._house = house
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                self._listen()
            except (
                redis.RedisError,
                ResultStoreUnavailable,
            ):  # it is one of the faults; what ended meanwhile is read at the end
                self._stop_asked.wait(0.2)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(10)

    def _listen(self) -> None:
        channel = f"{self._house.prefix}done:"
        with self._house.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            pubsub.psubscribe(f"{channel}*")
            heard: list[str] = []
            while not self._stop_asked.is_set():
                message = pubsub.get_message(timeout=0.1)
                if message is not None:
                    heard.append(message["channel"].removeprefix(channel))
                if heard and (message is None or len(heard) >= 200):
                    self.note(heard)
                    heard = []

    def note(self, ids: list[str]) -> None:
        """Read these tasks' outcomes now."""
        for task_id, result in self._house.views.tasks_by_id(ids).items():
            if result.done:
                fence = result.result[1] if isinstance(result.result, list) else result.reason
                self.outcomes[task_id].add((result.status.value, fence))
                self.ended_at.setdefault(task_id, result.finished_at or time.time())


class OffsetWatcher(threading.Thread):
    """Reads the whole topic beside the workers and compares their group's commits with Redis' rows.

    A record below the committed offset must not be needed any more: its row has ended, or was published again,
    or is in the outbox, or has been running so long that its worker let go of the record (detached). It goes past the
    proxies, so that it looks on while the workers' links are broken.
    """

    def __init__(self, house: House, kafka_servers: list[str]) -> None:
        super().__init__(name="offsets", daemon=True)
        self.too_early: list[str] = []
        self.looked_at: list[float] = []  # seconds since the epoch
        self.seen: set[str] = set()  # ids that have a record in Kafka
        self._house = house
        self._servers = kafka_servers
        self._topic = house.broker.topic_of("default")
        self._group = house.settings["group_id"]
        self._read: dict[int, list[tuple[int, str, int]]] = defaultdict(
            list
        )  # partition → (offset, id, gen), not yet checked
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            try:
                self._watch()
            except (KafkaError, redis.RedisError, ResultStoreUnavailable):  # one of the faults; records are read again
                self._read.clear()
                self._stop_asked.wait(0.5)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(30)

    @property
    def samples(self) -> int:
        return len(self.looked_at)

    @property
    def uncommitted(self) -> set[str]:
        """The tasks of the records that are not below a committed offset, as far as was looked."""
        return {task_id for records in [*self._read.values()] for _, task_id, _ in [*records]}

    def _watch(self) -> None:
        consumer = KafkaConsumer(
            bootstrap_servers=self._servers, group_id=None, auto_offset_reset="earliest", enable_auto_commit=False
        )
        admin = KafkaAdminClient(bootstrap_servers=self._servers)
        try:
            while not (parts := consumer.partitions_for_topic(self._topic)):
                if self._stop_asked.wait(LOOK_EVERY):
                    return
            consumer.assign([TopicPartition(self._topic, part) for part in sorted(parts)])
            while not self._stop_asked.is_set():
                self._read_on(consumer)
                committed = admin.list_group_offsets(self._group)[self._group]
                self._compare(
                    {tp.partition: found.offset for tp, found in committed.items() if tp.topic == self._topic}
                )
                self.looked_at.append(time.time())
        finally:
            consumer.close(autocommit=False)
            admin.close()

    def _read_on(self, consumer: Any) -> None:
        until = time.monotonic() + LOOK_EVERY
        while (left := until - time.monotonic()) > 0:
            for tp, records in consumer.poll(timeout_ms=int(left * 1000), max_records=2000).items():
                for record in records:
                    gen = int(dict(record.headers)["yadtq"].split(b":")[0])
                    task_id = record.key.decode()
                    self.seen.add(task_id)
                    self._read[tp.partition].append((record.offset, task_id, gen))

    def _compare(self, committed: dict[int, int]) -> None:
        below: list[tuple[str, int, str]] = []
        for partition, records in self._read.items():
            count = sum(offset < committed.get(partition, 0) for offset, _, _ in records)
            below += [(task_id, gen, f"{partition}/{offset}") for offset, task_id, gen in records[:count]]
            del records[:count]
        for start in range(0, len(below), 500):
            self._compare_some(below[start : start + 500])

    def _compare_some(self, records: list[tuple[str, int, str]]) -> None:
        rows = self._house.views.tasks_by_id(task_id for task_id, _, _ in records)
        needed = [
            (row, where)
            for task_id, gen, where in records
            if (row := rows.get(task_id)) is not None and row.gen == gen and self._is_needed(row)
        ]
        again = self._house.views.tasks_by_id(row.id for row, _ in needed)  # row and outbox were not read in one moment
        self.too_early += [
            f"{where} is committed, and task {row.id} of gen {row.gen} is {row.status}"
            for row, where in needed
            if again.get(row.id) == row
        ]

    def _is_needed(self, row: TaskResult) -> bool:
        if row.status is TaskStatus.QUEUED:
            return self._house.redis.zscore(f"{self._house.prefix}outbox", row.id) is None
        if row.status is TaskStatus.PROCESSING:  # its worker may let go of it when it has run for long
            return time.time() - (row.started_at or 0.0) < DETACH_AFTER * self._house.settings["time_scale"]
        return False
