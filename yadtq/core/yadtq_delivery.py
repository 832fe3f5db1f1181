"""One received record on its way through a worker: from its partition to its outcome. Plain data."""

from __future__ import annotations

import time
from collections import deque

from yadtq.core.yadtq_offsets import OffsetWindow
from yadtq.core.yadtq_report import Report
from yadtq.core.yadtq_task import Outcome, Task

Position = tuple[str, int]  # topic, partition


class PartitionState:
    """What a worker knows of one assigned partition. A new assignment makes a new one, so that what an older one left behind is harmless."""

    __slots__ = ("buffer", "dropped", "paused", "position", "queue", "window")

    def __init__(self, position: Position, queue: str) -> None:
        self.position = position
        self.queue = queue
        self.window = OffsetWindow()
        self.buffer: deque[Delivery] = deque()  # received, not yet taken for a claim
        self.paused = False
        self.dropped = False  # revoked or rewound: its records are not to be claimed from here any more


class Delivery:
    """One record, and the run made of it."""

    __slots__ = (
        "attempt",
        "begun_at",
        "body",
        "claimed_at",
        "drain_at",
        "drains",
        "fence",
        "finished_at",
        "gen",
        "header",
        "key",
        "offset",
        "outcome",
        "report",
        "state",
        "task",
        "timestamp",
        "token",
    )

    def __init__(
        self, state: PartitionState, offset: int, key: bytes | None, body: bytes, header: bytes | None, timestamp: int
    ) -> None:
        self.state = state
        self.offset = offset
        self.key = key
        self.body = body
        self.header = header
        self.timestamp = timestamp  # ms, as Kafka has it; once read, as signed: of Redis' clock, when it was accepted or published again
        self.gen = 0
        self.task: Task | None = None  # set once the record has been verified and read
        self.token = ""  # set before the claim
        self.attempt = 0
        self.fence = 0
        self.claimed_at = 0.0  # monotonic seconds; 0 before Redis has given the run
        self.drains = 0  # how often its worker did not become empty for it
        self.drain_at = 0.0  # monotonic seconds; not before then does the worker try again
        self.outcome: Outcome | None = None
        self.report: Report | None = None  # what it told until it ended
        self.begun_at = self.finished_at = 0.0  # wall clock

    @property
    def age(self) -> float:
        """Seconds since the claim was granted; 0 before."""
        return time.monotonic() - self.claimed_at if self.claimed_at else 0.0
