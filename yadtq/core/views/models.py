"""What the reads answer: plain values, each ready for JSON by ``dataclasses.asdict``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from yadtq.core.yadtq_histogram import Histogram
from yadtq.core.yadtq_task import TaskResult


@dataclass(frozen=True)
class Attempt:
    """One run that did not end in success."""

    attempt: int
    worker: str
    started_at: float | None
    finished_at: float | None
    outcome: str  # retry, failed, handback, cancelled, lost
    error: str
    traceback: str


@dataclass(frozen=True)
class Action:
    """What a person did to one task."""

    action: str  # retry, cancel, resubmit (task: the new one), resubmitted (task: the old one)
    by: str  # a user's name; empty where it came from a client or the command line
    at: float
    task: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far a run said that it is."""

    done: float
    total: float | None
    note: str
    at: float

    @property
    def share(self) -> float | None:
        """From 0 to 1; None where the whole is not known."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total and self.total > 0 else None


@dataclass(frozen=True)
class LogLine:
    """One log record of a run."""

    at: float
    level: str  # as Python's logging has it
    text: str
    attempt: int


@dataclass(frozen=True)
class TaskDetail:
    """Everything kept of one task."""

    result: TaskResult
    args: list[Any] | None  # None where only a preview is left
    kwargs: dict[str, Any] | None
    options: dict[str, Any]
    history: list[Attempt]
    envelope_at: str  # redis, row (short arguments of an ended task) or kafka
    actions: list[Action] = field(default_factory=list)
    progress: Progress | None = None  # of the present or last run
    log: list[LogLine] = field(
        default_factory=list
    )  # of that run and the one before it: the newest 200 lines or 16 kB of each
    log_cut: int = 0  # how many older lines those runs wrote


@dataclass(frozen=True)
class TaskPage:
    """One page of a list; cursors go into the URL. Where it is not complete, ``next`` searches further."""

    items: list[TaskResult]
    next: str | None
    previous: str | None
    epoch: str
    seq: int
    scanned: int = 0  # rows looked at
    complete: bool = True  # False: the search stopped for its limits, with a page that may be short or empty


@dataclass(frozen=True)
class Count:
    """How many tasks match a search, as far as was looked."""

    matching: int
    scanned: int
    total: int  # rows that have to be looked at in all
    next: str | None  # the cursor to count on from; None when all were looked at


@dataclass(frozen=True)
class ParamInfo:
    """One parameter of an announced function."""

    name: str
    kind: str  # positional, keyword, args, kwargs
    annotation: str
    required: bool
    default: Any = None


@dataclass(frozen=True)
class FunctionInfo:
    """A function that workers announce."""

    name: str
    doc: str
    queues: list[str]
    params: list[ParamInfo]


@dataclass(frozen=True)
class SlotInfo:
    """One run under way in a worker."""

    task: str  # its id
    since: float


@dataclass(frozen=True)
class WorkerInfo:
    """One incarnation of a worker, from its last beat."""

    id: str
    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    partitions: dict[str, list[int]]
    concurrency: int
    running: list[str]
    started_at: float
    beat_at: float
    age: float  # seconds since the last beat, by Redis' clock
    online: bool
    stopping: bool
    stopped: bool  # it took leave
    done: int
    failed: int
    pool: str = "thread"
    kafka_trouble: str = ""  # why it cannot reach Kafka, as a sentence; '' while it can
    clock_skew: float = 0.0  # seconds its machine's clock was ahead of Redis' at its last beat
    stuck: int = 0  # threads lost to tasks that did not end when their time was over
    paused: float = 0.0  # seconds it had claimed nothing because a person asked, at its last beat; 0 where it claims
    alone: float = 0.0  # seconds it had claimed nothing because a task runs alone there; 0 where it claims
    asked: list[str] = field(default_factory=list)  # what people asked of it and it has not heard yet
    slots: list[SlotInfo] = field(default_factory=list)  # what runs, and since when
    memory: int | None = None  # bytes resident in its processes; None where the system does not tell
    cpu: float | None = None  # processor time of its processes, 1.0 for one core busy all the time
    done_rate: float = 0.0  # tasks a minute, over the last minute
    failed_rate: float = 0.0
    functions: list[FunctionInfo] = field(default_factory=list)
    target: str = ""  # the MODULE[:NAME] that `yadtq worker` was given; '' where it was started otherwise
    held: int = 0  # tasks it has claimed and that have not ended, by Redis' word just now; those beyond its slots have not begun
    dismissed: bool = False  # a person has seen that it is offline

    @property
    def busy(self) -> int:
        """Slots in use."""
        return min(self.held, self.concurrency)

    @property
    def silent(self) -> bool:
        """Whether it is offline without having taken leave, and nobody has said that this was seen."""
        return not (self.online or self.stopped or self.dismissed)

    @property
    def claims(self) -> bool:
        """Whether it takes new tasks."""
        return self.online and not self.paused and not self.stopping


@dataclass(frozen=True)
class FailedStart:
    """A worker that could not start."""

    host: str
    why: str  # in a sentence
    at: float


@dataclass(frozen=True)
class QueueInfo:
    """One queue's load."""

    name: str
    queued: int
    processing: int
    oldest_wait: float | None = None  # seconds the longest waiting task has waited; None where none waits
    oldest_is_bound: bool = False  # it has waited at most so long: other queues hold all that wait longest


@dataclass(frozen=True)
class MinuteStats:
    """What ended in one minute."""

    minute: int  # its start, seconds since the epoch
    success: int
    failed: int
    retried: int
    fenced: int  # outcomes that came too late and were dropped
    rebuilt: int  # rows that Redis had lost, made again from Kafka
    rejected: int  # records that could not be trusted or read


@dataclass(frozen=True)
class Rate:
    """What happened in one span of time."""

    start: int  # seconds since the epoch
    seconds: int
    success: int
    failed: int
    cancelled: int
    expired: int
    retried: int  # attempts that failed with another to follow
    waited: Histogram  # of runs that ended, from queued to claimed
    ran: Histogram  # of the same runs, from claimed to finished


@dataclass(frozen=True)
class FailureGroup:
    """Failed tasks of one name whose errors differ only in numbers, ids, paths and quoted texts."""

    fingerprint: str
    name: str
    error: str  # of the newest one, in short
    reason: str
    count: int
    first_at: float
    last_at: float
    sample_ids: list[str]  # the newest three
    per_hour: list[int]  # the last 24 hours, oldest first


@dataclass(frozen=True)
class GroupPage:
    """One page of groups; ``next`` is the cursor of those that follow. Where it is not complete, it searches further."""

    items: list[FailureGroup]
    next: str | None
    total: int  # groups in all, whatever was searched for
    scanned: int = 0  # groups looked at
    complete: bool = True  # False: the search stopped for its limits, with a page that may be short or empty


@dataclass(frozen=True)
class WaitingFact:
    """One reason why a task has not started, for people; the code is for programs."""

    code: str
    text: str
    at: float | None = None  # a moment the fact is about
    count: int | None = None
    worker: str | None = None  # id of the one worker it is about


@dataclass(frozen=True)
class AuditEntry:
    """One change made through the web."""

    id: str
    at: float
    user: str
    role: str
    action: str
    target: str
    detail: str
    address: str


@dataclass(frozen=True)
class AuditPage:
    """The newest entries first; ``next`` is the cursor of older ones."""

    items: list[AuditEntry]
    next: str | None


@dataclass(frozen=True)
class Mark:
    """A point in the stream of changes."""

    epoch: str
    seq: int


@dataclass(frozen=True)
class Changes:
    """What changed since a mark; not complete when the mark is too old."""

    epoch: str
    seq: int
    complete: bool
    tasks: set[str]
    workers: set[str]
    queues: set[str]
