"""From outcomes to Redis, in batches: whatever has ended by the time the last batch was answered."""

from __future__ import annotations

import json
import logging
import queue
from collections.abc import Callable
from typing import Any, NamedTuple

from yadtq.core.yadtq_codec import SMALL, shorten
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_fingerprint import fingerprint
from yadtq.core.yadtq_lease import Abandoned, Lease
from yadtq.core.yadtq_portions import CALL_BYTES
from yadtq.core.yadtq_result_db import ResultStore, seconds_to_ms
from yadtq.core.yadtq_task import Outcome, OutcomeKind

logger = logging.getLogger(__name__)

MAX_BATCH = 250  # runs written down at once, at most


class Ended(NamedTuple):
    """One run as Redis is told of it."""

    delivery: Delivery
    entry: tuple[Any, ...]
    told: bytes | None  # what it told until it ended

    @property
    def size(self) -> int:
        """Bytes; of text, characters: what is long is ASCII."""
        return sum(len(part) for part in self.entry if isinstance(part, (bytes, str))) + len(self.told or b"")


class Finisher:
    """One thread that writes outcomes down and repeats each batch until Redis has answered it."""

    def __init__(self, store: ResultStore, lease: Lease, name: str, ended: Callable[[int], None]) -> None:
        self._store = store
        self._lease = lease
        self._name = name
        self._ended = ended  # told how many runs have been written down
        self._queue: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self.done = 0
        self.failed = 0

    def put(self, delivery: Delivery) -> None:
        """A run has ended."""
        self._queue.put(delivery)

    def stop(self) -> None:
        """End after what was put so far."""
        self._queue.put(None)

    def loop(self) -> None:
        try:
            while self.step():
                pass
        except Abandoned:
            return

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written down."""
        return self._queue.empty()

    def step(self) -> bool:
        """Wait for what has ended and write it down, once; False after :meth:`stop`. Raises Abandoned."""
        batch, more = self._next_batch()
        if batch:
            self._finish(batch)
        return more

    def _next_batch(self) -> tuple[list[Ended], bool]:
        batch: list[Ended] = []
        size = 0
        delivery = self._queue.get()
        while delivery is not None:
            ended = self._ended_run(delivery)
            batch.append(ended)
            size += ended.size
            if len(batch) >= MAX_BATCH or size >= CALL_BYTES:
                return batch, True
            try:
                delivery = self._queue.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _ended_run(self, delivery: Delivery) -> Ended:
        told = delivery.report.to_json(delivery.attempt) if delivery.report is not None else None
        return Ended(delivery, self._entry(delivery), told)

    def _finish(self, batch: list[Ended]) -> None:
        deliveries = [ended.delivery for ended in batch]
        runs = [ended.entry for ended in batch]
        told = {ended.delivery.token: ended.told for ended in batch if ended.told is not None}
        while True:
            reply = self._lease.ask(lambda: self._store.finish(self._lease.inc, runs, reports=told))
            if self._lease.finished(deliveries, reply.era):
                break
        for delivery, answer in zip(deliveries, reply.items, strict=True):
            if answer == b"FENCED":
                logger.warning(
                    "the outcome of task %s came too late and was dropped: another run has it",
                    delivery.task and delivery.task.id,
                )
            self._count(delivery.outcome)
        self._lease.confirmed(deliveries)
        self._ended(len(batch))

    def _count(self, outcome: Outcome | None) -> None:
        self.done += 1
        if outcome is not None and outcome.kind is OutcomeKind.FAILED:
            self.failed += 1

    def _entry(self, delivery: Delivery) -> tuple[Any, ...]:
        task, outcome = delivery.task, delivery.outcome
        assert task is not None
        assert outcome is not None
        if outcome.kind is OutcomeKind.SUCCESS:
            short = len(outcome.result) <= SMALL
            return (
                task.id,
                delivery.token,
                "success",
                outcome.result if short else b"",
                b"" if short else outcome.result,
                "",
                0,
                "",
            )
        reason = outcome.reason.value if outcome.reason else ""
        history = json.dumps(
            {
                "attempt": delivery.attempt,
                "worker": self._name,
                "started": int(delivery.begun_at * 1000),
                "finished": int(delivery.finished_at * 1000),
                "outcome": outcome.kind.value,
                "reason": reason,
                "error": outcome.error[:2000],
                "traceback": outcome.traceback,
            },
            ensure_ascii=False,
        ).encode(errors="replace")  # an error may hold half a surrogate pair, which no page could be made of
        return (
            task.id,
            delivery.token,
            outcome.kind.value,
            shorten(outcome.error),
            fingerprint(task.name, outcome.error) if outcome.kind is OutcomeKind.FAILED else "",
            reason,
            seconds_to_ms(outcome.delay),
            history,
        )
