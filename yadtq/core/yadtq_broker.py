"""Kafka for everybody else: the producer, and what opens consumers and reads back.

Its parts are yadtq_connection, yadtq_topics, yadtq_consumer, yadtq_records and yadtq_survey; nothing else speaks Kafka.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, RetriableError

from yadtq.config import Settings
from yadtq.core.yadtq_codec import HEADER, Codec
from yadtq.core.yadtq_consumer import RebalanceHandler, Received, TaskConsumer, TruthfulAssignor, read_at
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_survey import KafkaSurvey, Rejected, describe, positions, read_newest, survey
from yadtq.core.yadtq_topics import Topics
from yadtq.errors import BrokerUnavailable

logger = logging.getLogger(__name__)

REASON_HEADER = "yadtq-reason"  # beside a record in the dead topic: why it is there
# Bytes of a rejected record that are kept: with its headers, a copy surely fits into Kafka's 1,048,588 for a record.
MOST_DEAD_KEY, MOST_DEAD_BODY = 1000, 900_000
DELIVERY_TIMEOUT = 15.0  # seconds a send is tried; the outbox's check comes after that
METADATA_AGE_MS = 30_000  # after which partitions that somebody added are known
REBALANCE_MS = 20_000  # that Kafka lets a rebalance last; a poll thread that runs nothing is never away for so long


class Record(NamedTuple):
    """A task's record on its way to Kafka."""

    id: str
    gen: int
    topic: str
    body: bytes
    header: bytes  # of the codec
    timestamp: int  # ms of Redis' clock
    partition: int | None = None  # by the id, where there is none or the producer does not know of it


_brokers: weakref.WeakSet[Broker] = weakref.WeakSet()
_of_parents: list[KafkaProducer] = []  # kept: one that is let go of waits for its thread, which is not here


class Broker(Topics):
    """Kafka for clients and workers. Lazy and thread-safe; connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.codec = Codec(settings.signing_keys, settings.signing_required)
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        # One for all that speak to Kafka by this broker: a process tells of an outage once.
        self.outage = OutageLog(logger, "Kafka", "what is submitted waits in Redis, running tasks go on")
        _brokers.add(self)

    def begin_in_child(self) -> None:
        """In a forked process: the producer's thread and connections are its parent's."""
        self._lock = threading.Lock()
        if self._producer is not None:
            _of_parents.append(self._producer)
            self._producer = None
        super().begin_in_child()

    # -- sending -----------------------------------------------------------------------------------

    def producer(self) -> KafkaProducer:
        """The one producer of this broker, made at the first use; raises BrokerUnavailable."""
        with self._lock:
            if self._producer is None:
                self._probe()
                self._producer = self._guard(
                    lambda: KafkaProducer(
                        **self._connection(),
                        acks="all",
                        # kafka-python never gets a new producer id once a batch that was sent has expired, and
                        # then delivers nothing more. Duplicates are harmless: a claim answers them with DONE.
                        enable_idempotence=False,
                        linger_ms=0,
                        batch_size=131_072,
                        max_request_size=2_097_152,
                        delivery_timeout_ms=int(DELIVERY_TIMEOUT * 1000),
                        max_block_ms=5000,
                        metadata_max_age_ms=METADATA_AGE_MS,
                        metrics_enabled=False,
                    )
                )
            return self._producer

    def send(
        self, record: Record, acknowledged: Callable[[int, int], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Hand a record to the producer; one of the two is called later, on its IO thread, with (partition, offset) or the error.

        Raises:
            BrokerUnavailable: it could not even be queued.
        """

        def run() -> None:
            producer, partition = self.producer(), record.partition
            # Its reader has told of it; one that was just added is not known here yet.
            if partition is not None and partition not in producer.partitions_for(record.topic):
                partition = None
            future = producer.send(
                record.topic,
                record.body,
                key=record.id.encode(),
                headers=[(HEADER, record.header)],
                partition=partition,
                timestamp_ms=record.timestamp,
            )
            future.add_callback(lambda meta: acknowledged(meta.partition, meta.offset))
            future.add_errback(failed)

        self._guard(run)

    def send_dead(
        self,
        topic: str,
        received: Received,
        reason: str,
        done: Callable[[], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        """Keep an unreadable record, cut where it is huge, with its reason in the dead topic.

        One of the two is called later, as by :meth:`send`.

        Raises:
            BrokerUnavailable: it could not even be queued.
        """
        headers = [(REASON_HEADER, reason.encode()[:1000]), ("yadtq-topic", topic.encode())]
        if received.header is not None:
            headers.append((HEADER, received.header[:1000]))
        key = received.key and received.key[:MOST_DEAD_KEY]
        body = received.body[:MOST_DEAD_BODY]

        def run() -> None:
            self.ensure_topics([self.settings.dead_topic])
            future = self.producer().send(self.settings.dead_topic, body, key=key, headers=headers)
            future.add_callback(lambda _meta: done())
            future.add_errback(failed)

        self._guard(run)

    def partition_count(self, topic: str) -> int:
        """How many partitions a topic has; raises BrokerUnavailable."""
        return len(self._guard(lambda: self.producer().partitions_for(topic)))

    def close(self) -> None:
        """Close the producer and other connections; a later call makes new ones."""
        super().close()
        with self._lock:
            producer, self._producer = self._producer, None
        if producer is not None:
            try:
                producer.close(timeout=5)
            except KafkaError as error:
                logger.warning("not all records were sent before closing (%s); workers publish them again", error)

    # -- reading -----------------------------------------------------------------------------------

    def open_consumer(self, topics: Sequence[str], handler: RebalanceHandler) -> TaskConsumer:
        """A member of the workers' group; raises BrokerUnavailable."""
        self.ensure_topics(topics)
        self._probe()
        assignor = TruthfulAssignor()
        consumer = self._guard(
            lambda: KafkaConsumer(
                **self._connection(),
                group_id=self.settings.group_id,
                partition_assignment_strategy=[assignor],
                session_timeout_ms=10_000,
                heartbeat_interval_ms=3000,
                max_poll_interval_ms=REBALANCE_MS,
                metadata_max_age_ms=METADATA_AGE_MS,
                retry_backoff_ms=100,
                fetch_max_wait_ms=100,
                max_poll_records=1000,
                max_partition_fetch_bytes=262_144,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                metrics_enabled=False,
            )
        )
        assignor.owned = consumer.assignment
        return TaskConsumer(consumer, topics, handler, self._guard)

    def read_back(self, topic: str, partition: int, offset: int) -> Received | None:
        """The record at these coordinates, or None where Kafka has deleted it; raises BrokerUnavailable."""

        def run() -> Received | None:
            consumer = KafkaConsumer(**self._connection(), enable_auto_commit=False, metrics_enabled=False)
            try:
                return read_at(consumer, topic, partition, offset, seconds=5)
            finally:
                consumer.close()

        return self._guard(run)

    def group_positions(self, topics: Sequence[str]) -> dict[tuple[str, int], tuple[int, int, int]]:
        """Per partition (first offset kept, committed offset of the workers, end); raises BrokerUnavailable."""
        return self._with_admin(lambda admin: positions(admin, topics, self.settings.group_id))

    def survey(self) -> KafkaSurvey:
        """How far each partition of the queues is read, and by what group; raises BrokerUnavailable."""
        return self._with_admin(lambda admin: survey(admin, self.settings))

    def rejected(self, limit: int, seconds: float) -> Rejected:
        """The newest records of the dead topic, as far as Kafka gives them in time; raises BrokerUnavailable."""

        def run() -> Rejected:
            self._probe()
            consumer = KafkaConsumer(
                **self._connection(),
                enable_auto_commit=False,
                metrics_enabled=False,
                allow_auto_create_topics=False,
                fetch_max_bytes=4_194_304,
                max_partition_fetch_bytes=1_048_576,
            )
            try:
                return read_newest(consumer, self.settings.dead_topic, limit, seconds)
            finally:
                consumer.close()

        return self._guard(run)

    def describe(self) -> dict[str, Any]:
        """What `yadtq doctor` shows: version, brokers, our topics, lag; raises BrokerUnavailable."""
        found = self._with_admin(lambda admin: describe(admin, self.settings.topic))
        try:
            offsets = self.group_positions(list(found["topics"])) if found["topics"] else {}
        except BrokerUnavailable as error:
            if not isinstance(error.__cause__, RetriableError):  # a Kafka that has never had a group, for one
                raise
            return {**found, "group_lag": None}
        found["group_lag"] = sum(end - max(first, committed) for first, committed, end in offsets.values())
        return found


def _begin_in_child() -> None:
    for broker in list(_brokers):
        broker.begin_in_child()


os.register_at_fork(after_in_child=_begin_in_child)
