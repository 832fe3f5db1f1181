"""Kafka as a fleet of workers meets it: a list a partition, who reads it, and what is committed.

Its part in these tests is a schedule of deliveries: late, twice, in another order, to another reader, or never.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from yadtq.config import Settings
from yadtq.core.yadtq_broker import Broker, Record
from yadtq.core.yadtq_consumer import RebalanceHandler, Received
from yadtq.core.yadtq_delivery import Position
from yadtq.errors import BrokerUnavailable

AT_ONCE = 1  # records of a partition that one poll gives

Offsets = Mapping[Position, int]
Commit = tuple[int, Offsets, Callable[[Offsets], None]]  # in which generation it was sent, what, and who is told


class Entry(NamedTuple):
    """One record of a partition, and which publication of which task it is."""

    id: str
    gen: int
    received: Received


class Log:
    """All partitions and the group that reads them."""

    def __init__(self, topics: Sequence[str], partitions: int) -> None:
        self.entries: dict[Position, list[Entry]] = {(t, p): [] for t in topics for p in range(partitions)}
        self.first = dict.fromkeys(self.entries, 0)  # the oldest offset that retention has left
        self.committed = dict.fromkeys(self.entries, 0)
        self.owner: dict[Position, Consumer | None] = dict.fromkeys(self.entries)
        self.fates: deque[str] = deque()  # of the next sends: ack (the default), late, unheard, twice, refused
        self.waiting: list[Callable[[], None]] = []  # answers to sends and commits that are still on their way
        self.commits_wait = False
        self.turn = 0

    def append(self, record: Record, position: Position) -> int:
        offset = len(self.entries[position])
        received = Received(offset, record.id.encode(), record.body, record.header, record.timestamp)
        self.entries[position].append(Entry(record.id, record.gen, received))
        return offset

    def start_of(self, position: Position) -> int:
        """Where a reader without a position begins."""
        return max(self.first[position], self.committed[position])

    def unread(self, task_id: str, gen: int = 1) -> bool:
        """Whether some record of the task, of this gen or a later one, is still before its reader."""
        return any(
            entry.id == task_id and entry.gen >= gen
            for position, entries in self.entries.items()
            for entry in entries[self.start_of(position) :]
        )

    def times_of(self, task_id: str) -> set[int]:
        """When its records were made (ms), wherever they are now."""
        return {e.received.timestamp for entries in self.entries.values() for e in entries if e.id == task_id}

    def passed_by(self) -> set[str]:
        """The tasks of all records that lie behind what is committed."""
        return {
            entry.id
            for position, entries in self.entries.items()
            for entry in entries[self.first[position] : self.committed[position]]
        }

    def eat(self, position: Position, upto: int) -> set[str]:
        """Retention deletes what is below the offset; returns the tasks whose records it took."""
        upto = min(max(upto, self.first[position]), len(self.entries[position]))
        eaten = {entry.id for entry in self.entries[position][self.start_of(position) : upto]}
        self.first[position] = upto
        return eaten

    # -- the group -------------------------------------------------------------------------------------------

    def give(self, position: Position, to: Consumer | None, *, told: bool) -> None:
        """Another reader, or the same one again. Where the old one is not ``told``, it goes on until its next poll."""
        old = self.owner[position]
        if old is not None:
            old.lose(position, told=told)
        self.owner[position] = to
        if to is not None:
            to.gain(position)

    def commit(self, consumer: Consumer, offsets: Offsets) -> bool:
        """As Kafka does it: only from a member that it still takes for the owner."""
        if any(self.owner[position] is not consumer for position in offsets):
            return False
        self.committed.update(offsets)
        return True


class LogBroker(Broker):
    """The real names, codec and headers over a :class:`Log`."""

    def __init__(self, settings: Settings, log: Log) -> None:
        super().__init__(settings)
        self.log = log
        self.between: Callable[[], None] = lambda: None  # others act here

    def ensure_topics(self, topics: Iterable[str]) -> None:
        return

    def producer(self) -> Any:
        """Always there: what becomes of a send is decided there."""

    def partition_count(self, topic: str) -> int:
        return sum(name == topic for name, _ in self.log.entries)

    def send(
        self, record: Record, acknowledged: Callable[[int, int], None], failed: Callable[[BaseException], None]
    ) -> None:
        fate = self.log.fates.popleft() if self.log.fates else "ack"
        if fate == "refused":
            failed(BrokerUnavailable("Kafka is away"))
            return
        self.log.turn += 1
        partition = self.log.turn % self.partition_count(record.topic) if record.partition is None else record.partition
        position = record.topic, partition
        offset = self.log.append(record, position)
        if fate == "twice":
            self.log.append(record, position)
        if fate == "late":
            self.log.waiting.append(lambda: acknowledged(partition, offset))
        elif fate == "unheard":
            failed(BrokerUnavailable("Kafka did not answer"))
        else:
            acknowledged(partition, offset)

    def send_dead(self, topic: str, received: Received, reason: str, done: Any, failed: Any) -> None:
        raise AssertionError(f"a good record was rejected: {reason}")

    def read_back(self, topic: str, partition: int, offset: int) -> Received | None:
        position = topic, partition
        return self.log.entries[position][offset].received if offset >= self.log.first[position] else None

    def group_positions(self, topics: Sequence[str]) -> dict[Position, tuple[int, int, int]]:
        log = self.log
        return {p: (log.first[p], log.committed[p], len(log.entries[p])) for p in log.entries if p[0] in topics}

    def open_consumer(self, topics: Sequence[str], handler: RebalanceHandler) -> Any:
        return Consumer(self, handler)


class Consumer:
    """A member of the group with the face of TaskConsumer."""

    def __init__(self, broker: LogBroker, handler: RebalanceHandler) -> None:
        self.broker, self.log, self.handler = broker, broker.log, handler
        self.positions: dict[Position, int] = {}  # of what it takes for its own
        self.paused: set[Position] = set()
        self.lost: set[Position] = set()  # it will hear of it at its next poll
        self.gained: set[Position] = set()
        self._under_way: deque[Commit] = deque()
        self._generation = 0  # a commit that was sent in an earlier one is refused

    # -- what the group does to it ---------------------------------------------------------------------------

    def lose(self, position: Position, *, told: bool) -> None:
        self.gained.discard(position)
        if position not in self.positions or position in self.lost:
            return
        if not told:
            self._generation += 1
            self.lost.add(position)
            return
        offsets = self.handler.partitions_revoked({position})
        if self._under_way:
            self._arrive(self._under_way[-1])
        self.log.commit(self, offsets)
        del self.positions[position]

    def gain(self, position: Position) -> None:
        if position in self.lost:
            self.gained.add(position)
        else:
            self.positions[position] = self.log.start_of(position)

    def _hear(self) -> None:
        """Kafka's IO thread: the group has gone on without this member."""
        if self.lost:
            self.handler.partitions_lost(set(self.lost))
            for position in self.lost:
                del self.positions[position]
            self.lost.clear()
        for position in self.gained:
            self.positions[position] = self.log.start_of(position)
        self.gained.clear()

    # -- TaskConsumer ----------------------------------------------------------------------------------------

    def poll(self, seconds: float) -> dict[Position, list[Received]]:
        self._hear()
        found: dict[Position, list[Received]] = {}
        for position in list(self.positions):
            start = max(self.positions[position], self.log.first[position])  # what is gone is passed over
            entries = self.log.entries[position][start : start + AT_ONCE]
            if entries and position not in self.paused:
                found[position] = [entry.received for entry in entries]
                self.positions[position] = start + len(entries)
        self.broker.between()
        return found

    def assignment(self) -> set[Position]:
        return set(self.positions)

    def pause(self, partitions: Iterable[Position]) -> None:
        self.paused |= set(partitions) & set(self.positions)

    def resume(self, partitions: Iterable[Position]) -> None:
        self.paused -= set(partitions)

    def commit(self, offsets: Offsets, confirmed: Callable[[Offsets], None]) -> None:
        mine = (self._generation, offsets, confirmed)
        self._under_way.append(mine)
        if self.log.commits_wait:
            self.log.waiting.append(lambda: self._arrive(mine))
        else:
            self._arrive(mine)

    def _arrive(self, last: Commit) -> None:
        """One connection carries them all: what was sent before arrives before."""
        while any(sent is last for sent in self._under_way):
            generation, offsets, confirmed = self._under_way.popleft()
            if generation == self._generation and self.log.commit(self, offsets):
                confirmed(offsets)

    def rebalance_is_stuck(self) -> bool:
        return False

    def rewind(self) -> None:
        """The question of what is committed comes behind all commits on the same connection."""
        if self._under_way:
            self._arrive(self._under_way[-1])
        for position in self.positions:
            self.positions[position] = self.log.start_of(position)

    def close(self) -> None:
        for position, owner in self.log.owner.items():
            if owner is self:
                self.log.give(position, None, told=True)
