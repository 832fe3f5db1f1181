"""From received records to runs: read them, claim them in batches, put them into the pool."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from yadtq.core.yadtq_ahead import Pace, Unbegun
from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_codec import HEADER_ROOM, INLINE_LIMIT, arguments_json, preview
from yadtq.core.yadtq_consumer import Received
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_intake import Intake
from yadtq.core.yadtq_lease import Abandoned, Lease
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_pools import Pool
from yadtq.core.yadtq_result_db import ClaimItem, Reply, ResultStore
from yadtq.core.yadtq_task import NAME_PATTERN
from yadtq.errors import BrokerUnavailable, RejectedRecord

logger = logging.getLogger(__name__)

# Seconds a worker empties itself for a suspect before it goes on with other work. They double with each try that fails:
# where some run is always longer than a try, the suspect would wait for ever.
DRAIN_FOR = 10.0
DRAIN_DOUBLINGS = 8
# Seconds until it tries again, at least; else as long as it tried, so that a run without end leaves half the time.
DRAIN_AGAIN = 30.0
# Seconds in which no rejected record is put aside once one could not be: each try may block this thread as long as Kafka
# may block a producer, and good records are claimed meanwhile.
REJECT_AGAIN = 10.0


class Claimer:
    """One thread that claims as much as the pool can soon run, and nothing once told to stop."""

    def __init__(
        self,
        store: ResultStore,
        broker: Broker,
        intake: Intake,
        lease: Lease,
        pool: Pool[Delivery, Any],
        name: str,
        fenced: Callable[[str], None],
    ) -> None:
        self._store = store
        self._broker = broker
        self._intake = intake
        self._lease = lease
        self._pool = pool
        self._name = name
        self._fenced = fenced  # this incarnation was declared dead
        self._unbegun = Unbegun(store, lease, pool)
        self._dead_topic = OutageLog(
            logger, "The topic of rejected records", "a rejected record is kept and tried again"
        )
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._reject_at = 0.0  # monotonic seconds; not before then is a record put aside
        self._suspects: deque[Delivery] = deque()  # each needs the worker for itself
        self._alone: Delivery | None = None  # the suspect that last had it
        self._drain_until = 0.0
        self._shut_at: float | None = None  # monotonic seconds, since when nothing but suspects was claimed
        self._paused_at: float | None = None  # monotonic seconds
        self.pace = Pace()
        self.rejected = 0  # records put aside in the dead topic

    def wake(self) -> None:
        """There may be something to claim, or room for it."""
        self._wake.set()

    def pause(self) -> None:
        """Claim nothing until :meth:`resume`; what is claimed runs. Pausing twice is fine."""
        if self._paused_at is None:
            self._paused_at = time.monotonic()

    def resume(self) -> None:
        self._paused_at = None
        self._wake.set()

    @property
    def paused_for(self) -> float:
        """Seconds since it was paused; 0 where it is not."""
        since = self._paused_at
        return 0.0 if since is None else max(0.001, time.monotonic() - since)

    @property
    def alone_for(self) -> float:
        """Seconds in which it has claimed nothing but suspects, where one of them runs; 0 where none does."""
        alone, since = self._alone, self._shut_at
        if alone is None or since is None or not alone.claimed_at or alone.token not in self._lease.held:
            return 0.0
        return time.monotonic() - since

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def loop(self) -> None:
        while not self._stop.is_set():
            try:
                if not self.step():
                    self._wake.wait(0.1)
            except Abandoned:
                return

    def step(self) -> bool:
        """Claim what there is and has room, once; False where there was nothing. Raises Abandoned."""
        self._unbegun.give_back_late()
        batch = self._next_batch()
        self._claim([delivery for delivery in batch if self._read(delivery)])
        return bool(batch)

    def _next_batch(self) -> list[Delivery]:
        self._wake.clear()
        slots = self._pool.capacity
        if not slots or self._paused_at is not None or self._runs_alone():
            return []
        while self._suspects and self._suspects[0].state.dropped:  # others have its partition
            self._suspects.popleft()
        if self._suspects:
            self._shut_at = self._shut_at or time.monotonic()
            return self._next_suspect()
        if not self._intake.waiting():
            self._shut_at = None
            return []
        ahead = self.pace.ahead()
        free = slots + ahead - len(self._lease.held)
        # Small claims cost as much as large ones, so some room is awaited; with few slots and slow tasks none is.
        if free < 1 or (free < ahead // 2 and len(self._lease.held) > slots):
            return []
        return self._intake.take(free)

    def _next_suspect(self) -> list[Delivery]:
        """The next suspect, alone, once the worker is empty; all are given up for a while where that takes too long."""
        if not self._lease.held:
            self._alone = self._suspects.popleft()
            return [self._alone]
        if time.monotonic() > self._drain_until:
            while self._suspects:
                self._give_up(self._suspects.popleft())
        return []

    def _give_up(self, suspect: Delivery) -> None:
        """Go on with other work for a while; a worker that happens to be empty meanwhile takes it all the same."""
        suspect.drain_at = time.monotonic() + max(DRAIN_AGAIN, DRAIN_FOR * 2**suspect.drains)
        suspect.drains = min(suspect.drains + 1, DRAIN_DOUBLINGS)
        self._intake.defer(suspect, DRAIN_AGAIN)

    def _runs_alone(self) -> bool:
        """Whether a suspect runs here: whatever else were asked for now would have to wait."""
        return self._alone is not None and self._alone.token in self._lease.held

    def _read(self, delivery: Delivery) -> bool:
        """Verify and parse; what cannot be trusted or read goes to the dead topic and is never run."""
        if delivery.task is not None:
            return True  # asked again
        topic = delivery.state.position[0]
        try:
            (delivery.gen, delivery.timestamp), delivery.task = self._broker.codec.read(
                topic, delivery.header, delivery.body
            )
            return True
        except RejectedRecord as error:
            self._reject(delivery, str(error))
            return False

    def _reject(self, delivery: Delivery, reason: str) -> None:
        if (wait := self._reject_at - time.monotonic()) > 0:
            self._intake.defer(delivery, wait)
            return
        if not self._end_its_task(delivery, reason):
            self._intake.defer(delivery)
            return
        topic, partition = delivery.state.position
        received = Received(delivery.offset, delivery.key, delivery.body, delivery.header, delivery.timestamp)

        def kept() -> None:
            self._dead_topic.up()
            logger.error("rejected the record at %s/%d offset %d: %s", topic, partition, delivery.offset, reason)
            self.rejected += 1
            self._lease.confirmed([delivery])

        def try_again(error: BaseException) -> None:
            self._dead_topic.down(str(error))
            self._broker.forget_topic(self._broker.settings.dead_topic)  # somebody may have deleted it
            self._reject_at = time.monotonic() + REJECT_AGAIN
            self._intake.defer(delivery, REJECT_AGAIN)

        try:
            self._broker.send_dead(topic, received, reason, kept, try_again)
        except BrokerUnavailable as error:
            try_again(error)

    def _end_its_task(self, delivery: Delivery, reason: str) -> bool:
        """Fail the task whose own record this is, if there is one; False when that cannot be told yet. Raises Abandoned."""
        task_id = (delivery.key or b"").decode(errors="replace")
        if NAME_PATTERN.fullmatch(task_id) is None:
            return True
        place = delivery.state.queue, delivery.state.position[1], delivery.offset
        why = f"its record was rejected: {reason}"
        reply = self._lease.ask(lambda: self._store.reject_record(task_id, *place, why))
        return reply.items != [b"UNPUBLISHED"]

    def _claim(self, batch: list[Delivery]) -> None:
        if not batch:
            return
        inc = self._lease.inc
        for delivery in batch:
            delivery.token = self._lease.new_token()
            self._lease.held[delivery.token] = delivery
        answers = self._answers(inc, batch)
        if answers == [b"FENCED"]:
            self._lease.forget(delivery.token for delivery in batch)
            self._fenced(inc)
        else:
            self._sort_out(batch, answers)

    def _answers(self, inc: str, batch: list[Delivery]) -> list[bytes]:
        """One answer per record, or FENCED alone; a lost row is made anew. Raises Abandoned."""
        while True:
            reply = self._ask(inc, batch)
            lost = [delivery for delivery, answer in zip(batch, reply.items, strict=False) if answer == b"LOST"]
            if lost:
                self._rebuild(lost)
                reply = self._ask(inc, batch)  # the same tokens: what already runs is answered RUN again
            runs = [delivery for delivery, answer in zip(batch, reply.items, strict=False) if answer.startswith(b"RUN")]
            # No answers to what was asked in an era that was just left, though it may have been sent after the new one began.
            answered = len(reply.items) == len(batch) or reply.items == [b"FENCED"]
            if answered and self._lease.granted(runs, reply.era):
                return reply.items

    def _rebuild(self, lost: list[Delivery]) -> None:
        self._lease.ask(lambda: self._store.rebuild([lost_row(self._broker, delivery) for delivery in lost]))

    def _ask(self, inc: str, batch: list[Delivery]) -> Reply:
        items = [claim_item(self._broker, delivery) for delivery in batch]
        return self._lease.ask(lambda: self._store.claim(inc, self._name, items, era=self._lease.era or ""))

    def _sort_out(self, batch: list[Delivery], answers: list[bytes]) -> None:
        """One branch per answer."""
        over: list[Delivery] = []
        runs: list[Delivery] = []
        for delivery, answer in zip(batch, answers, strict=True):
            if answer.startswith(b"RUN"):
                self._note_run(delivery, answer)
                runs.append(delivery)
                continue
            del self._lease.held[delivery.token]
            if answer.startswith(b"BUSY:") and self._intake.may_let_go(delivery, int(answer[5:]) / 1000):
                logger.info(
                    "task %s runs long elsewhere; its partition goes on without it", delivery.task and delivery.task.id
                )
                over.append(delivery)
            elif answer == b"WAIT" and self._runs_alone():
                self._intake.defer(delivery, 0.0)  # as soon as it has ended
            elif answer.startswith((b"BUSY", b"WAIT", b"LOST")):
                self._intake.defer(delivery)
            elif answer == b"ALONE":
                self._meet_suspect(delivery)
            else:  # DONE, CANCELLED, EXPIRED: the record is no longer needed
                over.append(delivery)
        if runs:
            self._unbegun.put(runs)
        if over:
            self._lease.confirmed(over)

    def _note_run(self, delivery: Delivery, answer: bytes) -> None:
        _, attempt, fence, *alone = answer.split(b":")
        delivery.attempt, delivery.fence = int(attempt), int(fence)
        if alone:
            self._alone, self._shut_at = delivery, self._shut_at or delivery.claimed_at
        else:
            self._shut_at = None

    def _meet_suspect(self, delivery: Delivery) -> None:
        if delivery is self._alone:  # nothing is held here: of what Redis still believes to be, a beat will tell it
            self._alone = None
            self._intake.defer(delivery)
            return
        now = time.monotonic()
        if not self._suspects and now < delivery.drain_at:
            self._intake.defer(delivery, min(DRAIN_AGAIN, delivery.drain_at - now))
            return
        if not self._suspects:
            self._drain_until = now + DRAIN_FOR * 2**delivery.drains
        self._suspects.append(delivery)


def claim_item(broker: Broker, delivery: Delivery, *, with_envelope: bool = False) -> ClaimItem:
    """A delivery as CLAIM takes it; a big envelope comes along, else a later retry would have nothing to publish.

    Big is each one that Redis may have dropped, whatever key it was sealed with.
    """
    assert delivery.task is not None
    big = with_envelope or len(delivery.body) > INLINE_LIMIT - HEADER_ROOM
    envelope = broker.codec.seal(delivery.state.position[0], delivery.body) if big else b""
    return ClaimItem(delivery.task.id, delivery.gen, delivery.token, delivery.timestamp, envelope)


def lost_row(broker: Broker, delivery: Delivery) -> tuple[object, ...]:
    """A delivery as the row that Redis has lost."""
    task = delivery.task
    assert task is not None
    envelope = broker.codec.seal(delivery.state.position[0], delivery.body)
    expires = "" if task.expires_at is None else int(task.expires_at * 1000)
    args = arguments_json(task.args, task.kwargs)
    return (
        task.id,
        delivery.gen,
        task.name,
        delivery.state.queue,
        delivery.timestamp,
        expires,
        envelope,
        args,
        preview(task.args, task.kwargs),
    )
