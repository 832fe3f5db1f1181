"""What the web knows of Kafka: the latest survey with the tasks at the partitions' heads, rejected records, lag by the minute."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webapp.flow import Flow, Flows
from webapp.latest import Latest
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import WaitingFact, note_lags
from yadtq.errors import ResultStoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from yadtq.core.yadtq_broker import Broker
    from yadtq.core.yadtq_result_db import ResultStore
    from yadtq.core.yadtq_survey import KafkaSurvey, Rejected
    from yadtq.core.yadtq_task import TaskResult
    from yadtq.core.yadtq_views import Views, WorkerInfo

log = logging.getLogger(__name__)

Place = tuple[str, int]  # topic and partition

HELD_AFTER = 30.0  # seconds a task runs at the head of a partition before that counts as held back
STANDS_AFTER = 10.0  # seconds without a commit before a partition is said to stand still; one follows a task's end by 2
_REJECTED = 50  # records shown
_READ_FOR = 1.2  # seconds


@dataclass(frozen=True)
class Head:
    """A task that runs and whose record is the first of its partition that is still needed."""

    task: TaskResult
    place: Place
    behind: int  # records after it

    def age(self) -> float:
        """Seconds it has run."""
        return time.time() - (self.task.started_at or time.time())


@dataclass(frozen=True)
class Progress:
    """How a partition with lag has got on since this process first saw it lag."""

    head: int  # the first offset that is still needed
    since: float  # it has been that one at least so long, seconds since the epoch
    moved: bool  # it was another one before


@dataclass(frozen=True)
class KafkaNow:
    """A survey, what runs at the heads of the partitions with lag, and whether these move."""

    survey: KafkaSurvey
    heads: dict[Place, Head]
    progress: dict[Place, Progress]
    flows: dict[str, Flow]  # by queue; those of which enough was seen

    def held(self, after: float) -> list[Head]:
        """Those that hold their partition back, the longest first."""
        found = [head for head in self.heads.values() if head.behind and head.age() > after]
        return sorted(found, key=Head.age, reverse=True)

    def standing(self, after: float) -> dict[Place, float]:
        """Those that stand still though no task runs at their head, and since when."""
        waiting = {place: one.since for place, one in self.progress.items() if place not in self.heads}
        return {place: since for place, since in waiting.items() if time.time() - since > after}


@dataclass(frozen=True)
class Surveyed:
    """The positions of a survey, for those who would else ask Kafka and let a page wait for it."""

    broker: Broker
    survey: KafkaSurvey

    def topic_of(self, queue: str) -> str:
        """The topic that carries a queue."""
        return self.broker.topic_of(queue)

    def group_positions(self, topics: Sequence[str]) -> dict[Place, tuple[int, int, int]]:
        """Per partition (first offset kept, committed offset, end)."""
        found = [one for one in self.survey.partitions if one.topic in topics]
        return {(one.topic, one.number): (one.first, one.committed or 0, one.end) for one in found}


class KafkaWatch:
    """One per process."""

    def __init__(self, broker: Broker, store: ResultStore, views: Views) -> None:
        self._broker, self._store, self._views = broker, store, views
        self.held_after = HELD_AFTER * store.settings.time_scale
        self.stands_after = STANDS_AFTER * store.settings.time_scale
        self.now: Latest[KafkaNow] = Latest("kafka", self._look)
        self.rejected: Latest[Rejected] = Latest("rejected", lambda: broker.rejected(_REJECTED, _READ_FOR))
        self._flows = Flows()
        self._progress: dict[Place, Progress] = {}  # as of the last look; only the looking thread writes it
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Note the lag once a minute from now on, unless another process has done so; starting twice starts once."""
        with self._lock:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._note_minutes, name="yadtq-lag", daemon=True)
                self._thread.start()

    def held(self) -> list[Head]:
        """Tasks that hold a partition back, as far as is known without a page having to wait."""
        glance = self.now.get(fresh=10, wait=0.25)
        return glance.value.held(self.held_after) if glance.value is not None and glance.age < 30 else []

    def flows(self) -> dict[str, Flow]:
        """How fast queues fill and empty, as far as was seen; no page waits for it."""
        glance = self.now.get(fresh=10, wait=0)
        return glance.value.flows if glance.value is not None and glance.age < 30 else {}

    def waiting_reason(self, task_id: str) -> list[WaitingFact]:
        """Why a task has not started, as far as is known without a page having to wait for Kafka. Raises TaskNotFound."""
        glance = self.now.get(fresh=5, wait=0.5)
        if glance.trouble or glance.value is None:
            facts = self._views.waiting_reason(task_id)
            return [*facts, WaitingFact("kafka_away", glance.trouble)] if facts and glance.trouble else facts
        return self._views.waiting_reason(task_id, Surveyed(self._broker, glance.value.survey))

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(15)
        self.now.close()
        self.rejected.close()

    def _look(self) -> KafkaNow:
        survey = self._broker.survey()
        running = [task_id for worker in self._views.workers() if worker.online for task_id in worker.running]
        tasks = self._views.tasks_by_id(running) if survey.lag else {}
        heads = {(one.topic, one.number): one for one in survey.partitions if one.lag}
        found: dict[Place, Head] = {}
        for task in tasks.values():
            if task.status is not TaskStatus.PROCESSING or task.partition is None:
                continue
            place = (self._broker.topic_of(task.queue), task.partition)
            if place in heads and heads[place].head == task.offset:
                found[place] = Head(task, place, heads[place].lag - 1)
        self._progress = followed(self._progress, survey)
        return KafkaNow(survey, found, self._progress, self._flow(survey))

    def _flow(self, survey: KafkaSurvey) -> dict[str, Flow]:
        backlog, busy = self._views.loads()
        unfinished = {queue: backlog.get(queue, 0) + busy.get(queue, 0) for queue in {*backlog, *busy}}
        ends: dict[str, int] = defaultdict(int)
        for one in survey.partitions:
            ends[one.topic] += one.end
        topics = {queue: self._broker.topic_of(queue) for queue in unfinished}
        return self._flows.look(time.time(), {q: ends[t] for q, t in topics.items() if t in ends}, unfinished)

    def _note_minutes(self) -> None:
        while not self._ended.is_set():
            try:
                if not self._views.lag_is_noted():
                    self._note()
            except ResultStoreUnavailable as error:  # the pages and the log tell of that
                log.debug("this minute's lag is not noted: %s", error)
            self._ended.wait(60 - time.time() % 60 + 0.5)

    def _note(self) -> None:
        glance = self.now.get(fresh=5, wait=20)
        if glance.value is not None and glance.age < 30:
            note_lags(self._store, lags_by_topic(glance.value.survey))


def followed(before: Mapping[Place, Progress], survey: KafkaSurvey) -> dict[Place, Progress]:
    """The progress of what lags now, by that of an earlier look."""
    found = {}
    for one in survey.partitions:
        place = (one.topic, one.number)
        old = before.get(place)
        if one.lag and (old is None or old.head != one.head):
            found[place] = Progress(one.head, survey.at, moved=old is not None)
        elif one.lag and old is not None:
            found[place] = old
    return found


def lags_by_topic(survey: KafkaSurvey) -> dict[str, list[int]]:
    """Partition by partition."""
    found: dict[str, list[int]] = defaultdict(list)
    for one in survey.partitions:
        found[one.topic].append(one.lag)
    return dict(found)


def owners(workers: Sequence[WorkerInfo]) -> Mapping[Place, WorkerInfo]:
    """Who reads which partition, as the workers online last said."""
    return {
        (topic, number): worker
        for worker in workers
        if worker.online
        for topic, numbers in worker.partitions.items()
        for number in numbers
    }
