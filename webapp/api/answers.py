"""What the API answers, where it is not what the reads give as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from webapp.alarms import Alarm
from webapp.masking import masked
from yadtq.core.yadtq_task import TaskResult
from yadtq.core.yadtq_views import (
    Action,
    Attempt,
    FunctionInfo,
    Histogram,
    LogLine,
    MinuteStats,
    Progress,
    QueueInfo,
    Rate,
    TaskDetail,
    WaitingFact,
    WorkerInfo,
)

if TYPE_CHECKING:
    from webapp.kafka_watch import KafkaNow, Place
    from yadtq.core.yadtq_survey import PartitionState


@dataclass(frozen=True)
class Task(TaskResult):
    """Everything kept of one task. Arguments are null where only Kafka or nobody has them any more."""

    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)
    history: list[Attempt] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    waiting: list[WaitingFact] = field(default_factory=list)
    progress: Progress | None = None
    log: list[LogLine] = field(default_factory=list)

    @classmethod
    def of(cls, detail: TaskDetail, waiting: list[WaitingFact]) -> Task:
        return cls(
            **vars(detail.result),
            args=masked(detail.args),
            kwargs=masked(detail.kwargs),
            options=detail.options,
            history=detail.history,
            actions=detail.actions,
            waiting=waiting,
            progress=detail.progress,
            log=detail.log,
        )


@dataclass(frozen=True)
class WorkerList:
    """The workers that beat within the last hour."""

    items: list[WorkerInfo]


@dataclass(frozen=True)
class Asked:
    """The id of the worker that was asked."""

    worker: str


@dataclass(frozen=True)
class QueueList:
    """The queues."""

    items: list[QueueInfo]


@dataclass(frozen=True)
class FunctionList:
    """The functions that online workers announce."""

    items: list[FunctionInfo]


@dataclass(frozen=True)
class Partition:
    """One partition: what Kafka keeps, how far the workers have committed, who reads it and what runs at its head."""

    topic: str
    number: int
    first: int
    committed: int | None
    end: int
    lag: int
    worker: str | None  # the id of its owner
    task: str | None  # the running task whose record is the first that is still needed


@dataclass(frozen=True)
class KafkaState:
    """Kafka as it was when it was last asked; trouble says why there is no newer look."""

    at: float
    trouble: str
    brokers: int
    group: str
    state: str
    members: int
    lag: int
    rejected: int
    partitions: list[Partition]

    @classmethod
    def of(cls, now: KafkaNow, trouble: str, owned: Mapping[Place, WorkerInfo]) -> KafkaState:
        def partition(one: PartitionState) -> Partition:
            place = (one.topic, one.number)
            owner, head = owned.get(place), now.heads.get(place)
            return Partition(
                **vars(one),
                lag=one.lag,
                worker=owner.id if owner else None,
                task=head.task.id if head else None,
            )

        found = now.survey
        values = {**vars(found), "partitions": [partition(one) for one in found.partitions]}
        return cls(**values, trouble=trouble, lag=found.lag)


@dataclass(frozen=True)
class Stats:
    """Counts by state, the last hour by minute, what Kafka has not acknowledged, counters since the start, what is wrong now."""

    counts: dict[str, int]
    minutes: list[MinuteStats]
    outbox: int
    totals: dict[str, int]
    alarms: list[Alarm]


@dataclass(frozen=True)
class Percentiles:
    """Lengths of time in seconds, to 9.1 %; null where there are none."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, histogram: Histogram) -> Percentiles:
        return cls(histogram.total, *(histogram.percentile(share) for share in (0.5, 0.95, 0.99)))


@dataclass(frozen=True)
class RatePoint:
    """What happened in one span of time, and how long its runs had waited and ran."""

    start: int
    seconds: int
    success: int
    failed: int
    cancelled: int
    expired: int
    retried: int
    waited: Percentiles
    ran: Percentiles

    @classmethod
    def of(cls, rate: Rate) -> RatePoint:
        return cls(**{**vars(rate), "waited": Percentiles.of(rate.waited), "ran": Percentiles.of(rate.ran)})


@dataclass(frozen=True)
class RateList:
    """The points of a span, oldest first; the last one is still running."""

    items: list[RatePoint]
