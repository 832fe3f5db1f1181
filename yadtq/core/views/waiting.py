"""What waits: the queues' loads, and why one task has not started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from yadtq.core.views.models import QueueInfo, WaitingFact, WorkerInfo
from yadtq.core.views.tasks import TaskReads
from yadtq.core.views.workers import WorkerReads
from yadtq.core.yadtq_task import TaskResult, TaskStatus
from yadtq.errors import BrokerUnavailable

NEXT = 50  # tasks that are looked at for the next due ones
LOOKED_AT = 2_000  # of the tasks that have waited longest, to find each queue's


class Positions(Protocol):
    """Who knows how far Kafka's partitions are read: a broker, or a look at it that is a few seconds old."""

    def topic_of(self, queue: str) -> str:
        """The topic that carries a queue."""

    def group_positions(self, topics: Sequence[str]) -> Mapping[tuple[str, int], tuple[int, int, int]]:
        """Per partition (first offset kept, committed offset, end); raises BrokerUnavailable."""


class WaitingReads(TaskReads, WorkerReads):
    """Queues, and reasons for waiting."""

    def queues(self) -> list[QueueInfo]:
        """Every queue that has held a task or has a worker."""
        backlog, busy = self.loads()
        names = sorted({*backlog, *busy, *(queue for worker in self.workers() for queue in worker.queues)})
        reply = self._store.oldest(LOOKED_AT)
        bound, *pairs = reply.items
        oldest = {queue.decode(): int(since) for queue, since in zip(pairs[::2], pairs[1::2], strict=True)}

        def info(name: str) -> QueueInfo:
            queued = max(0, backlog.get(name, 0))
            since = oldest.get(name) or (int(bound) if bound else None)
            wait = max(0.0, reply.now / 1000 - since / 1e6) if queued and since else None
            is_bound = wait is not None and name not in oldest
            return QueueInfo(name, queued, max(0, busy.get(name, 0)), wait, is_bound)

        return [info(name) for name in names]

    def loads(self) -> tuple[dict[str, int], dict[str, int]]:
        """By queue, how many tasks wait, and how many are claimed."""
        pipe = self._store.client.pipeline(transaction=False)
        pipe.hgetall(self._store.key("backlog"))
        pipe.hgetall(self._store.key("busy"))
        backlog, busy = ({name.decode(): int(n) for name, n in raw.items()} for raw in self._store.guard(pipe.execute))
        return backlog, busy

    def next_due(self) -> dict[str, float]:
        """When the next task is due that is scheduled, and that retries: of those that are due or expire next."""
        key, client = self._store.key, self._store.client
        entries = self._store.guard(lambda: client.zrange(key("due"), 0, NEXT - 1, withscores=True))
        pipe = client.pipeline(transaction=False)
        for raw, _ in entries:
            pipe.hget(key("t:", raw.decode()), "status")
        found: dict[str, float] = {}
        for status, (_, due) in zip(self._store.guard(pipe.execute) if entries else [], entries, strict=True):
            if status in (b"scheduled", b"retrying"):
                found.setdefault(status.decode(), due / 1000)
        return found

    def waiting_reason(self, task_id: str, broker: Positions | None = None) -> list[WaitingFact]:
        """Why a task has not started; nothing for one that runs or has ended.

        With ``broker`` Kafka is asked how many records are ahead. Raises TaskNotFound.
        """
        task = self.result(task_id)
        if task.status is TaskStatus.SCHEDULED:
            return [WaitingFact("scheduled", "It is scheduled for a later time.", task.due_at)]
        if task.status is TaskStatus.RETRYING:
            return [WaitingFact("retry_due", "An attempt failed; the next one is due at a later time.", task.due_at)]
        if task.status is not TaskStatus.QUEUED:
            return []
        facts = self._about_publication(task)
        online = [worker for worker in self.workers() if worker.online]
        facts += _about_workers(task, online)
        if broker is not None and task.partition is not None and task.offset is not None:
            working = _at_work(_knowing(task, _serving(task, online)))
            facts += _about_owner(broker.topic_of(task.queue), task.partition, working, online)
            facts += _about_kafka(task.queue, task.partition, task.offset, broker)
        if task.lost >= 2:
            text = f"{task.lost} workers died running it, so it waits for a worker that can run it alone."
            facts.append(WaitingFact("suspect", text, count=task.lost))
        return facts

    def _about_publication(self, task: TaskResult) -> list[WaitingFact]:
        score = self._store.guard(lambda: self._store.client.zscore(self._store.key("outbox"), task.id))
        if score is None:
            return []
        text = "Kafka has not yet acknowledged its record; a worker publishes it again until it does."
        return [WaitingFact("outbox", text, task.changed_at)]


def _serving(task: TaskResult, online: Sequence[WorkerInfo]) -> list[WorkerInfo]:
    return [worker for worker in online if task.queue in worker.queues]


def _knowing(task: TaskResult, serving: Sequence[WorkerInfo]) -> list[WorkerInfo]:
    return [worker for worker in serving if any(one.name == task.name for one in worker.functions)]


def _at_work(workers: Sequence[WorkerInfo]) -> list[WorkerInfo]:
    return [worker for worker in workers if not worker.paused]


def _about_workers(task: TaskResult, online: Sequence[WorkerInfo]) -> list[WaitingFact]:
    if not online:
        return [WaitingFact("no_worker", "No worker is online.")]
    serving = _serving(task, online)
    if not serving:
        return [WaitingFact("no_worker_for_queue", f"No worker that is online takes from the queue {task.queue}.")]
    knowing = _knowing(task, serving)
    if not knowing:
        text = f"None of the {len(serving)} workers online for the queue {task.queue} knows the task {task.name}."
        return [WaitingFact("no_worker_for_task", text, count=len(serving))]
    working = _at_work(knowing)
    if not working:
        text, only = f"Every worker that knows it is paused: {_names(knowing)}.", knowing[0].id
        return [WaitingFact("paused", text, count=len(knowing), worker=only if len(knowing) == 1 else None)]
    return _about_working(working)


def _about_working(working: Sequence[WorkerInfo]) -> list[WaitingFact]:
    if all(worker.alone for worker in working):
        text = f"Every worker that knows it runs a task alone, with which two workers died: {_names(working)}. "
        text += "It waits until one of these has ended, or another worker is started."
        return [WaitingFact("alone", text, count=len(working))]
    slots = sum(worker.concurrency for worker in working)
    if all(worker.busy >= worker.concurrency for worker in working):
        return [WaitingFact("slots_busy", f"All {slots} slots of the workers that know it are busy.", count=slots)]
    return []


def _names(workers: Sequence[WorkerInfo]) -> str:
    return ", ".join(worker.name for worker in workers[:3])


def _about_owner(
    topic: str, partition: int, working: Sequence[WorkerInfo], online: Sequence[WorkerInfo]
) -> list[WaitingFact]:
    """What keeps the one worker that has its record from taking it, while others could."""
    owner = next((worker for worker in online if partition in worker.partitions.get(topic, ())), None)
    if owner is None:
        return []
    place = f"Its partition {partition} belongs to {owner.name},"
    if owner.paused:
        text = f"{place} which is paused; after a minute others take it over."
        return [WaitingFact("partition_paused", text, worker=owner.id)]
    free = sum(worker.concurrency - worker.busy for worker in working if not worker.alone)
    if owner.busy < owner.concurrency or not free:
        return []
    slots = "whose only slot is busy" if owner.concurrency == 1 else f"all {owner.concurrency} of whose slots are busy"
    text = f"{place} {slots}; {free} {'slot is' if free == 1 else 'slots are'} free elsewhere."
    return [WaitingFact("owner_busy", text, count=free, worker=owner.id)]


def _about_kafka(queue: str, partition: int, offset: int, broker: Positions) -> list[WaitingFact]:
    topic = broker.topic_of(queue)
    try:
        positions = broker.group_positions([topic])
    except BrokerUnavailable as error:
        return [WaitingFact("kafka_away", f"Kafka does not answer: {error}")]
    if (topic, partition) not in positions:
        return []
    first, committed, _end = positions[topic, partition]
    ahead = offset - max(first, committed)
    if ahead <= 0:
        return []
    records = "1 record is" if ahead == 1 else f"{ahead:,} records are"
    text = f"{records} ahead of it in partition {partition} of {topic}, some of which may have ended."
    return [WaitingFact("records_ahead", text, count=ahead)]
