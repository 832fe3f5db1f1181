"""The task as a value: its states, the legal moves between them, how a run ended, what a reader gets. Pure."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from yadtq.errors import InvalidName

NAME_PATTERN = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
DEFAULT_QUEUE = "default"


class TaskStatus(str, Enum):
    """The states of a task; the same words in the API, the search and on the pages."""

    SCHEDULED = "scheduled"  # waits for its time
    QUEUED = "queued"  # waits for a worker
    PROCESSING = "processing"  # a worker runs it
    RETRYING = "retrying"  # an attempt failed, waits for the next
    SUCCESS = "success"  # ended with a result
    FAILED = "failed"  # ended without; see Reason
    CANCELLED = "cancelled"  # ended by a person
    EXPIRED = "expired"  # its time to start passed

    @property
    def terminal(self) -> bool:
        """Whether only a person's retry can move the task again."""
        return self in TERMINAL

    def __str__(self) -> str:
        return self.value


class Reason(str, Enum):
    """Why a task failed."""

    ERROR = "error"  # it raised, or its result was not JSON
    TIMEOUT = "timeout"  # its time limit passed
    WORKER_LOST = "worker_lost"  # three workers, or child processes, died running it
    UNKNOWN_TASK = "unknown_task"  # no worker knows its name
    REJECTED = "rejected"  # its arguments do not fit the function, or its record cannot be trusted

    def __str__(self) -> str:
        return self.value


_S = TaskStatus
TERMINAL = frozenset({_S.SUCCESS, _S.FAILED, _S.CANCELLED, _S.EXPIRED})
RETRYABLE = frozenset({_S.FAILED, _S.CANCELLED, _S.EXPIRED})  # by a person
CANCELLABLE = frozenset({_S.SCHEDULED, _S.QUEUED, _S.RETRYING, _S.PROCESSING})

# Every arrow of docs/lifecycle.md. The Lua scripts move rows only along these.
LEGAL_MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    _S.SCHEDULED: frozenset({_S.QUEUED, _S.PROCESSING, _S.CANCELLED, _S.EXPIRED}),
    _S.QUEUED: frozenset({_S.PROCESSING, _S.CANCELLED, _S.EXPIRED, _S.FAILED}),
    _S.PROCESSING: frozenset({_S.SUCCESS, _S.FAILED, _S.RETRYING, _S.QUEUED, _S.CANCELLED}),
    _S.RETRYING: frozenset({_S.QUEUED, _S.PROCESSING, _S.CANCELLED, _S.EXPIRED}),
    _S.SUCCESS: frozenset(),
    _S.FAILED: frozenset({_S.QUEUED, _S.PROCESSING}),
    _S.CANCELLED: frozenset({_S.QUEUED}),
    _S.EXPIRED: frozenset({_S.QUEUED}),
}


def check_name(kind: str, name: Any) -> str:
    """The name, if it can be part of a Redis key and a topic name.

    Raises:
        InvalidName: it has other characters than ``A-Z a-z 0-9 _ . : -`` or is not 1 to 128 long.
    """
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise InvalidName(f"{kind} name {str(name)[:140]!r} must be 1 to 128 of the characters A-Z a-z 0-9 _ . : -")
    return str(name)


@dataclass(frozen=True)
class TaskOptions:
    """What a submit may ask beyond the arguments; ``None`` leaves it to the task's own options."""

    queue: str = DEFAULT_QUEUE  # which workers may take it
    delay: float = 0.0  # seconds before it is queued
    retries: int | None = None  # attempts after the first
    timeout: float | None = None  # seconds one attempt may run
    expires: float | None = None  # seconds after which it must not start any more
    key: str | None = None  # a repeat with the same key and name returns the first one's id


@dataclass(frozen=True)
class Task:
    """A task as it travels: the envelope's content."""

    id: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    retries: int | None = None
    timeout: float | None = None
    expires_at: float | None = None  # seconds since the epoch


class OutcomeKind(str, Enum):
    """How one run of a task ended, as the worker tells Redis."""

    SUCCESS = "success"
    RETRY = "retry"  # an attempt failed, another follows after ``delay``
    FAILED = "failed"
    HANDBACK = "handback"  # this worker does not know the task; no attempt counted
    CANCELLED = "cancelled"  # it stopped because a person asked
    LOST = "lost"  # it killed the child process that ran it; no attempt counted

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Outcome:
    """The end of one run: decided once, in yadtq_execution, then only written down."""

    kind: OutcomeKind
    result: bytes = b""  # JSON, for SUCCESS
    reason: Reason | None = None  # for FAILED; for RETRY what it would have failed with
    error: str = ""  # one line for people
    traceback: str = ""
    delay: float = 0.0  # seconds until the next attempt, for RETRY; how long a HANDBACK waits, fin.lua says


@dataclass(frozen=True)
class TaskResult:
    """What Redis knows of one task. Times are seconds since the epoch, or ``None``."""

    id: str
    name: str
    queue: str
    status: TaskStatus
    result: Any = None  # the decoded result of a task in state success
    reason: str | None = None  # of a failed one: a word of Reason
    error: str | None = None  # the last error in one line, also while retrying
    attempts: int = 0  # runs begun, without hand-backs and lost workers' redeliveries
    lost: int = 0  # workers and child processes that died running it
    worker: str | None = None  # the one that runs or last ran it
    args_preview: str = ""  # arguments in short, for people
    cancel_requested: bool = False
    submitted_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    changed_at: float | None = None  # when it entered its present state
    due_at: float | None = None
    expires_at: float | None = None
    partition: int | None = None
    offset: int | None = None
    gen: int = 1  # how many times it was published
    seq: int = 0  # the change number of its last move: higher is newer
    fingerprint: str | None = None  # of a failed one: the group of those that failed alike

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.status.terminal

    @property
    def ok(self) -> bool:
        """Whether it ended with a result."""
        return self.status is TaskStatus.SUCCESS

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-ready values: what ``--json`` and the HTTP API give."""
        data = asdict(self)
        data["status"] = self.status.value
        return data
