"""What the poll thread has received and nobody has claimed yet; and which offsets may be committed.

Duties: buffer per partition, hand out fairly, keep what must be asked again, bound it all, follow the offsets.
The poll thread feeds it, the claimer takes from it; one lock, held for batches only.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from yadtq.core.yadtq_consumer import RebalanceHandler, Received
from yadtq.core.yadtq_delivery import Delivery, PartitionState, Position
from yadtq.core.yadtq_portions import CALL_BYTES

MAX_SPAN = 10_000  # records of one partition between first unfinished and last received
MAX_BUFFERED = 4000  # records of all partitions that wait for a claim
MAX_BYTES = 32 * 1024 * 1024  # of those records
DETACH_AFTER = 300.0  # seconds a claimed head may hold a partition back
ASK_AGAIN = 2.0  # seconds between two claims of a record that another run holds
LET_GO_FOR = 60.0  # seconds a person's wish to let go of a record is remembered


class Intake(RebalanceHandler):
    """The buffers and windows of one worker's partitions."""

    def __init__(self, queue_of: Mapping[str, str], time_scale: float, wake: Callable[[], None]) -> None:
        self._queue_of = queue_of
        self._detach_after = DETACH_AFTER * time_scale
        self._wake = wake  # there is something to claim
        self._lock = threading.RLock()
        self._states: dict[Position, PartitionState] = {}
        self._deferred: list[tuple[float, int, Delivery]] = []  # heap by the time to ask again
        self._order = itertools.count()
        self._unwanted: dict[str, float] = {}  # tasks a person wants let go of -> monotonic seconds until when
        self._buffered = 0
        self._bytes = 0
        self.losses = 0  # how often partitions have been taken away; to be noted before a poll
        self._lost_at: dict[Position, int] = {}  # per partition, the last of those times
        self.room = threading.Event()  # set when there is room for more records
        self.room.set()

    # -- the poll thread ---------------------------------------------------------------------------

    def add(self, position: Position, records: Iterable[Received], losses: int | None = None) -> bool:
        """Buffer new records of a partition; ``losses`` as it was before the poll that gave them.

        False, and nothing is buffered, where the partition was taken away since: it may have come back and be read from
        an earlier offset, whose records would pass for old ones behind these. It must be read again from its commit.
        So it must where Kafka itself has gone back: a kept partition is read on from where it was, unless its topic was
        deleted and made anew, or its last records were lost with a broker. All its new records would pass for old ones.
        """
        with self._lock:
            if losses is not None and self._lost_at.get(position, 0) > losses:
                return False
            state = self._states.get(position)
            if state is None:
                state = self._states[position] = PartitionState(position, self._queue_of[position[0]])
            window, buffer = state.window, state.buffer
            for record in records:
                if not window.receive(record.offset):
                    return False
                buffer.append(Delivery(state, record.offset, record.key, record.body, record.header, record.timestamp))
                self._buffered += 1
                self._bytes += len(record.body)
            if self._buffered >= MAX_BUFFERED or self._bytes >= MAX_BYTES:
                self.room.clear()
        self._wake()
        return True

    def keep_only(self, assigned: set[Position]) -> None:
        """Drop what is no longer assigned."""
        with self._lock:
            self._drop(set(self._states) - assigned)

    def reset(self) -> None:
        """Drop everything; the records are read again from the committed offsets."""
        with self._lock:
            self._drop(set(self._states))

    def _drop(self, positions: Iterable[Position]) -> None:
        for position in positions:
            state = self._states.pop(position, None)
            if state is None:
                continue
            state.dropped = True
            self._buffered -= len(state.buffer)
            self._bytes -= sum(len(delivery.body) for delivery in state.buffer)
            state.buffer.clear()
        self._tell_room()

    def to_pause(self) -> list[Position]:
        """Partitions whose span has reached its bound."""
        with self._lock:
            full = [state for state in self._states.values() if not state.paused and state.window.span >= MAX_SPAN]
            for state in full:
                state.paused = True
            return [state.position for state in full]

    def to_resume(self) -> list[Position]:
        """Paused partitions whose span has fallen to half the bound."""
        with self._lock:
            free = [state for state in self._states.values() if state.paused and state.window.span <= MAX_SPAN // 2]
            for state in free:
                state.paused = False
            return [state.position for state in free]

    @property
    def paused(self) -> set[Position]:
        """Partitions paused for their span."""
        with self._lock:
            return {state.position for state in self._states.values() if state.paused}

    def settle(self, deliveries: Iterable[Delivery]) -> None:
        """These records are no longer needed, and Redis has long confirmed it."""
        by_state: dict[PartitionState, list[int]] = {}
        for delivery in deliveries:
            by_state.setdefault(delivery.state, []).append(delivery.offset)
        with self._lock:
            for state, offsets in by_state.items():
                state.window.done(offsets)

    def detach(self, held: Iterable[Delivery]) -> list[Delivery]:
        """Let go of claimed heads that hold their partition back too long: row, envelope and reaper cover them.

        A record that is only buffered or asked again later is never detached here.
        """
        with self._lock:
            claimed = {(delivery.state, delivery.offset): delivery for delivery in held if delivery.claimed_at}
            freed = []
            for state in self._states.values():
                while state.window.head is not None:
                    delivery = claimed.get((state, state.window.head))
                    if delivery is None or not self._holds_back(state, delivery.age):
                        break
                    state.window.done([delivery.offset])
                    freed.append(delivery)
            return freed

    def may_let_go(self, delivery: Delivery, age: float) -> bool:
        """Whether a record that another run has held for ``age`` seconds, and does not need any more, is in the way here."""
        with self._lock:
            now = time.monotonic()
            self._unwanted = {task_id: until for task_id, until in self._unwanted.items() if until > now}
            unwanted = delivery.task is not None and delivery.task.id in self._unwanted
            return unwanted or self._holds_back(delivery.state, age)

    def let_go(self, task_id: str) -> None:
        """A person wants the record of a task that runs elsewhere let go of as soon as that run does not need it."""
        with self._lock:
            self._unwanted[task_id] = time.monotonic() + LET_GO_FOR

    def _holds_back(self, state: PartitionState, age: float) -> bool:
        if age > self._detach_after:
            return True
        window = state.window
        return age > 5.0 and window.span > MAX_SPAN * 0.9 and window.finished_share > 0.98

    def commits(self) -> dict[Position, int]:
        """The offsets to commit now."""
        with self._lock:
            offers = {position: state.window.next_commit() for position, state in self._states.items()}
            return {position: offset for position, offset in offers.items() if offset is not None}

    def committed(self, offsets: Mapping[Position, int]) -> None:
        """Kafka has accepted these commits."""
        with self._lock:
            for position, offset in offsets.items():
                if position in self._states:
                    self._states[position].window.confirm_commit(offset)

    @property
    def unfinished(self) -> bool:
        """Whether any received record is not settled yet."""
        with self._lock:
            return any(state.window.span for state in self._states.values())

    # -- rebalances (kafka-python's IO thread) -------------------------------------------------------

    def partitions_revoked(self, partitions: set[Position]) -> dict[Position, int]:
        with self._lock:
            offsets = {position: offset for position, offset in self.commits().items() if position in partitions}
            self._lose(partitions)
            return offsets

    def partitions_lost(self, partitions: set[Position]) -> None:
        with self._lock:
            self._lose(partitions)

    def _lose(self, partitions: set[Position]) -> None:
        self.losses += 1
        self._lost_at.update(dict.fromkeys(partitions, self.losses))
        self._drop(partitions)

    # -- the claimer -------------------------------------------------------------------------------

    def take(self, limit: int) -> list[Delivery]:
        """Up to ``limit`` records to claim in one call: first those to ask again, then from each partition in turn."""
        with self._lock:
            taken, size = self._take_deferred(limit)
            for position in list(self._states):
                if len(taken) >= limit or size >= CALL_BYTES:
                    break
                state = self._states[position]
                while state.buffer and len(taken) < limit and size < CALL_BYTES:
                    delivery = state.buffer.popleft()
                    self._buffered -= 1
                    self._bytes -= len(delivery.body)
                    size += len(delivery.body)
                    taken.append(delivery)
                self._states[position] = self._states.pop(position)  # the next take begins with another one
            self._tell_room()
            return taken

    def _take_deferred(self, limit: int) -> tuple[list[Delivery], int]:
        """And how many bytes they have."""
        taken: list[Delivery] = []
        size, now = 0, time.monotonic()
        while self._deferred and self._deferred[0][0] <= now and len(taken) < limit and size < CALL_BYTES:
            delivery = heapq.heappop(self._deferred)[2]
            if not delivery.state.dropped:
                taken.append(delivery)
                size += len(delivery.body)
        return taken, size

    def defer(self, delivery: Delivery, seconds: float = ASK_AGAIN) -> None:
        """Ask for this record again later."""
        with self._lock:
            heapq.heappush(self._deferred, (time.monotonic() + seconds, next(self._order), delivery))

    def waiting(self) -> int:
        """How many records could be claimed now; of those to ask again only whether there are any."""
        with self._lock:
            return self._buffered + bool(self._deferred and self._deferred[0][0] <= time.monotonic())

    def _tell_room(self) -> None:
        if self._buffered <= MAX_BUFFERED // 2 and self._bytes <= MAX_BYTES // 2:
            self.room.set()
