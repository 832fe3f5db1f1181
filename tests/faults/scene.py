"""A trial of one guard: on one Kafka node, short, and made so that the guard alone keeps a promise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.children import ROOT, Child
from tests.faults.cluster import Cluster
from tests.faults.oracle import Run, Verdict, read_runs
from tests.faults.producer import Promise
from tests.faults.proxy import Switchboard
from tests.faults.trial import Trial
from tests.helpers import eventually
from yadtq import TaskResult
from yadtq.core.yadtq_broker import Record
from yadtq.core.yadtq_codec import Stamp
from yadtq.core.yadtq_heartbeat import About
from yadtq.core.yadtq_task import Task
from yadtq.embedded import EmbeddedKafka

NOWHERE = "127.0.0.1:1"  # nothing listens there
HOUR = 3_600_000  # ms


class OneNode:
    """The Kafka of a bench; no scene breaks it."""

    links = ()  # clients reach it directly

    def __init__(self, server: EmbeddedKafka) -> None:
        self.server = server

    def mend(self) -> None:
        """Nothing was broken."""


class Bench(Cluster):
    """A cluster of one Kafka node that is there already; a Redis for each scene."""

    def __init__(self, kafka: EmbeddedKafka, folder: Path) -> None:
        super().__init__(folder)
        self.kafka = OneNode(kafka)  # type: ignore[assignment]

    def __enter__(self) -> Bench:
        self.switchboard = self._stack.enter_context(Switchboard())
        return self


class Scene(Trial):
    """``without`` names the guards that are taken out of every process that the scene starts."""

    reported = False  # what a guard taken out breaks is no figure of ours

    def __init__(self, bench: Bench, folder: Path, without: Sequence[str], settings: dict[str, Any], **options: Any):
        ours = {"time_scale": 0.1, "grace": 10.0, "partitions": 4, **settings}
        super().__init__("scene", bench, folder, 0, ours, **options)  # type: ignore[arg-type]
        self.without = list(without)
        self._groups = 0

    # -- processes ---------------------------------------------------------------------------------

    def start(self, **settings: Any) -> Child:
        """One worker, once it has beaten."""
        self.start_workers(1, without=self.without, **settings)
        return self.crew.all[-1]

    def start_unseen(self, **settings: Any) -> Child:
        """One worker, at once."""
        return self.crew.start(1, without=self.without, **settings)[0]

    def new_group(self) -> str:
        """A consumer group that need not wait until Kafka has missed a member that was killed; it reads everything."""
        self._groups += 1
        return f"{self.settings['group_id']}-{self._groups}"

    @contextmanager
    def client_process(self) -> Iterator[ClientProcess]:
        client = ClientProcess(self.settings, self.without)
        try:
            yield client
        finally:
            client.close()

    # -- tasks -------------------------------------------------------------------------------------

    def submit(self, name: str, *args: Any, **options: Any) -> str:
        task_id = self.producer.submit(name, *args, **options)
        assert task_id is not None
        return task_id

    def promise(self, task_id: str, name: str, *args: Any) -> None:
        """Another client was promised this task."""
        self.producer.ledger.promises[task_id] = Promise(name, args)

    def submit_unpublished(self, name: str, *args: Any, **options: Any) -> str:
        """By a client that reaches Redis and not Kafka."""
        client = self.house.beside(kafka_servers=[NOWHERE]).client
        task_id = client.options(**options).submit(name, *args)
        self.promise(task_id, name, *args)
        return task_id

    def is_(self, task_id: str, status: str, within: float = 20.0) -> TaskResult:
        """The task, once it is in this state."""
        return self.house.reaches(task_id, status, within)

    def published(self) -> None:
        """Wait until Kafka has everything and Redis knows."""
        eventually(lambda: not self.house.redis.zcard(f"{self.house.prefix}outbox"), 20)

    def send_again(self, task_id: str, age: int = 0) -> None:
        """Another record of the same task, as old as ``age`` ms."""
        broker, promise = self.house.broker, self.producer.ledger.promises[task_id]
        topic = broker.topic_of("default")
        body = broker.codec.pack(Task(task_id, promise.name, promise.args, {}))
        sent: list[int] = []
        at = self.house.store.time_ms() - age
        record = Record(task_id, 1, topic, body, broker.codec.header(topic, Stamp(1, at), body), at)
        broker.ensure_topics([topic])
        broker.send(record, lambda _partition, offset: sent.append(offset), lambda error: None)
        eventually(lambda: sent)

    def was_submitted(self, task_id: str, ago: int) -> None:
        """As if it had been ``ago`` ms ago, to a Redis that has run all the time."""
        prefix, redis = self.house.prefix, self.house.redis
        redis.zadd(f"{prefix}index:all", {task_id: (self.house.store.time_ms() - ago) * 1000})
        redis.delete(f"{prefix}gaps")

    def forget(self, task_id: str) -> None:
        """Redis keeps nothing of the task any more."""
        prefix, redis = self.house.prefix, self.house.redis
        redis.delete(f"{prefix}t:{task_id}", f"{prefix}envelope:{task_id}")
        for index in ("outbox", "index:queued", "index:success", "index:all"):
            redis.zrem(f"{prefix}{index}", task_id)

    def runs_of(self, task_id: str) -> list[Run]:
        """Its runs so far."""
        return [run for run in read_runs(self.folder) if run.id == task_id]

    def runs(self, task_id: str, times: int = 1, within: float = 20.0) -> None:
        """Wait until it has begun so many times."""
        eventually(lambda: len(self.runs_of(task_id)) >= times, within)

    def coordinates(self, task_id: str) -> tuple[int, int] | None:
        """Partition and offset of its record, once Redis has been told."""
        part, offset = self.house.redis.hmget(f"{self.house.prefix}t:{task_id}", "part", "offset")
        return None if part is None else (int(part), int(offset))

    def judge_once(self, within: float) -> Verdict:
        """As :meth:`judge`; and nothing in this scene explains a second run of any task."""
        verdict = self.judge(within)
        runs = Counter(run.id for run in verdict.runs)
        verdict.twice = [f"{task_id} ran {times} times" for task_id, times in runs.items() if times > 1]
        return verdict

    # -- what happens to them ------------------------------------------------------------------------

    def stop_replication(self) -> None:
        """The replica has everything up to now, and nothing from now on."""
        assert self.house.redis.wait(1, 5000) == 1, "the replica lags already"
        self.redis.stop_replication()

    def end_in_time(self, ids: Sequence[str], within: float) -> None:
        """Those that have not ended by then are late, whatever becomes of them."""
        deadline, left = time.monotonic() + within, set(ids)
        while left and time.monotonic() < deadline:
            left -= self._ended(left)
            time.sleep(0.05)
        self.verdict.late += sorted(left)

    def declare_dead(self, worker: Child) -> None:
        """As a keeper does with one that was away: by the real move, of one for whom half a second is long."""
        hasty = self.house.beside(time_scale=0.02, redis_url=self.redis.now.url)
        store = hasty.store
        about = json.dumps(
            asdict(About("hasty", "here", "0", queues=("none",), concurrency=0, pool="thread", functions=[]))
        )
        known = {w.id for w in hasty.views.workers() if w.name == worker.name}
        assert len(known) == 1
        dead: set[str] = set()
        deadline = time.monotonic() + 20
        while not known <= dead:
            assert time.monotonic() < deadline, "it never fell silent for long enough"
            store.beat("hasty", about, "{}", [])
            dead |= set(store.reap("hasty"))
            time.sleep(0.02)
        store.release("hasty", [], leave=True)


class ClientProcess:
    """A client whose production code may lack guards."""

    def __init__(self, settings: dict[str, Any], without: Sequence[str]) -> None:
        orders = json.dumps({"settings": settings, "without": list(without)})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.client_main", orders],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, method: str, *args: Any) -> Any:
        """One call of TaskClient."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([method, *args]) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Let it send what it has, and end; it is killed if it does not."""
        try:
            self._process.communicate(timeout=20)
        finally:
            self._process.kill()
            self._process.communicate()


Play = Callable[[Scene], Verdict]


@dataclass(frozen=True)
class Script:
    """How a scene is played, its workers' slots and settings, and the oracle's lines that its fault allows."""

    play: Play
    slots: int
    allows: tuple[str, ...]
    settings: dict[str, Any]


def script(*, slots: int = 4, allows: tuple[str, ...] = (), **settings: Any) -> Callable[[Play], Script]:
    """Makes a script of a function that plays a scene."""
    return lambda play: Script(play, slots, allows, settings)
