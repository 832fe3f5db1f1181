"""Records as they come from Kafka: a member of the workers' group, which hears of partitions that come and go, and the look at one record."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError

from yadtq.core.yadtq_codec import HEADER
from yadtq.core.yadtq_records import read_on

logger = logging.getLogger(__name__)

STUCK_AFTER = 90.0  # seconds of one rebalance; Kafka itself ends one after the 20 s of max_poll_interval_ms
REFUSALS_APART = 10.0  # seconds between two refused commits after which they are not of one rebalance


class Received(NamedTuple):
    """A record as it came from Kafka."""

    offset: int
    key: bytes | None
    body: bytes
    header: bytes | None
    timestamp: int  # ms


class RebalanceHandler:
    """What a consumer's owner is told; both run on kafka-python's IO thread and must not block."""

    def partitions_revoked(self, partitions: set[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Stop feeding these; returns the offsets to commit while that is still accepted."""
        raise NotImplementedError

    def partitions_lost(self, partitions: set[tuple[str, int]]) -> None:
        """These belong to others by now: drop them without a commit."""
        raise NotImplementedError


def _received(record: Any) -> Received:
    header = next((value for name, value in record.headers if name == HEADER), None)
    return Received(record.offset, record.key, record.value or b"", header, record.timestamp)


def read_at(consumer: KafkaConsumer, topic: str, partition: int, offset: int, seconds: float) -> Received | None:
    """The record at these coordinates, or None where it is gone or does not come in time; the consumer is of no group."""
    target = TopicPartition(topic, partition)
    read_on(consumer)
    consumer.assign([target])
    consumer.seek(target, offset)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for record in consumer.poll(timeout_ms=500, max_records=1).get(target, ()):
            return _received(record) if record.offset == offset else None
    return None


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Commits at revoke with ``await``: kafka-python runs this on its IO thread, where a blocking call raises."""

    def __init__(self, consumer: KafkaConsumer, handler: RebalanceHandler) -> None:
        self._consumer = consumer
        self._handler = handler

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        offsets = self._handler.partitions_revoked({(tp.topic, tp.partition) for tp in revoked})
        if offsets:
            try:
                await self._consumer.commit_async(_commit_form(offsets))
            except KafkaError as error:
                logger.info(
                    "the last commit before a rebalance was refused (%s); the next owner hears that the tasks are done",
                    error,
                )

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """The poll loop meets new partitions with their first records."""

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._handler.partitions_lost({(tp.topic, tp.partition) for tp in lost})


def _commit_form(offsets: Mapping[tuple[str, int], int]) -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition(*tp): OffsetAndMetadata(offset, "", -1) for tp, offset in offsets.items()}


class TruthfulAssignor(CooperativeStickyAssignor):  # type: ignore[misc]
    """KIP-429's cooperative sticky assignment, where a member that joins claims the partitions that it has.

    kafka-python's own claims what it was assigned last, also after it has lost that together with its membership.
    What a claim names is given to nobody else before the claimant gives it up. This one has nothing to give up, and
    nobody would read those partitions before the group's next rebalance.
    """

    def __init__(self) -> None:
        super().__init__()
        self.owned: Callable[[], Set[TopicPartition]] = frozenset

    def metadata(self, topics: Any) -> Any:
        self.member_assignment = list(self.owned())
        return super().metadata(topics)


class TaskConsumer:
    """A group member; only the poll thread may use it."""

    def __init__(
        self, consumer: KafkaConsumer, topics: Sequence[str], handler: RebalanceHandler, guard: Callable[..., Any]
    ) -> None:
        self._consumer = read_on(consumer)
        self._guard = guard
        self._refused_first = self._refused_last = (
            0.0  # monotonic: of the present row of commits refused for a rebalance
        )
        consumer.subscribe(topics=list(topics), listener=_Listener(consumer, handler))
        for topic in topics:
            # A leader that joins before it has heard of a new topic assigns nothing until metadata_max_age_ms has passed.
            guard(lambda topic=topic: consumer.partitions_for_topic(topic))

    def poll(self, seconds: float) -> dict[tuple[str, int], list[Received]]:
        """New records by (topic, partition); raises BrokerUnavailable."""
        batches = self._guard(lambda: self._consumer.poll(timeout_ms=int(seconds * 1000)))
        return {(tp.topic, tp.partition): [_received(record) for record in records] for tp, records in batches.items()}

    def assignment(self) -> set[tuple[str, int]]:
        return {(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def pause(self, partitions: Iterable[tuple[str, int]]) -> None:
        assigned = self._consumer.assignment()
        self._consumer.pause(*(TopicPartition(*tp) for tp in partitions if tp in assigned))

    def resume(self, partitions: Iterable[tuple[str, int]]) -> None:
        assigned = self._consumer.assignment()
        self._consumer.resume(*(TopicPartition(*tp) for tp in partitions if tp in assigned))

    def commit(
        self, offsets: Mapping[tuple[str, int], int], confirmed: Callable[[Mapping[tuple[str, int], int]], None]
    ) -> None:
        """Commit without waiting; once Kafka has accepted it, a later poll or commit calls ``confirmed``."""

        def answered(_offsets: Any, response: Any) -> None:
            if isinstance(response, Exception):
                logger.debug("commit refused: %s", response)
                if isinstance(response, (RebalanceInProgressError, CommitFailedError)):
                    self._refused(time.monotonic())
            else:
                self._refused_first = self._refused_last
                confirmed(offsets)

        self._consumer.commit_async(_commit_form(offsets), callback=answered)

    def _refused(self, now: float) -> None:
        if now - self._refused_last > REFUSALS_APART:
            self._refused_first = now
        self._refused_last = now

    def rebalance_is_stuck(self) -> bool:
        """Whether this member believes in a rebalance that must be over: it reads on, and no commit of it is accepted."""
        return self._refused_last - self._refused_first > STUCK_AFTER

    def rewind(self) -> None:
        """Every assigned partition back to its committed offset, so that what was dropped is read again."""

        def run() -> None:
            for tp in self._consumer.assignment():
                committed = self._consumer.committed(tp, timeout_ms=5000)
                if committed is None:
                    self._consumer.seek_to_beginning(tp)
                else:
                    self._consumer.seek(tp, committed)

        self._guard(run)

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self._guard(lambda: self._consumer.close(autocommit=False, timeout_ms=5000))
