"""All that speaks Kafka: topics, producer, consumers, reading back, and the figures of `yadtq doctor`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from kafka import (
    AsyncConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    OffsetSpec,
    TopicPartition,
)
from kafka.admin import ConfigResource
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError, RetriableError, TopicAlreadyExistsError
from kafka.net.sasl import get_sasl_mechanism

from yadtq.config import Settings
from yadtq.core.yadtq_codec import HEADER, Codec
from yadtq.core.yadtq_knock import Refused, knock
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_survey import KafkaSurvey, Rejected, read_newest, survey
from yadtq.core.yadtq_task import DEFAULT_QUEUE, check_name
from yadtq.core.yadtq_tls import tls_context
from yadtq.core.yadtq_trouble import kafka_unavailable
from yadtq.errors import BrokerUnavailable, InvalidName

logger = logging.getLogger(__name__)

REASON_HEADER = "yadtq-reason"  # beside a record in the dead topic: why it is there
MAX_TOPIC = 249  # characters, Kafka's bound
DELIVERY_TIMEOUT = 15.0  # seconds a send is tried; the outbox's check comes after that

T = TypeVar("T")


class Record(NamedTuple):
    """A task's record on its way to Kafka."""

    id: str
    gen: int
    topic: str
    body: bytes
    header: bytes  # GEN:KEYID:MAC
    timestamp: int  # ms of Redis' clock
    partition: int | None = None  # None: by the id


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


class Broker:
    """Kafka for clients and workers. Lazy and thread-safe; connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.codec = Codec(settings.signing_keys, settings.signing_required)
        self._tls = tls_context(settings, "kafka") if settings.kafka_tls else None
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._pinger: KafkaAdminClient | None = None
        self._ping_lock = threading.Lock()
        # One for all that speak to Kafka by this broker: a process tells of an outage once.
        self.outage = OutageLog(logger, "Kafka", "what is submitted waits in Redis, running tasks go on")
        self._known_topics: set[str] = set()

    # -- names -------------------------------------------------------------------------------------

    def topic_of(self, queue: str) -> str:
        """The topic of a queue.

        Kafka takes no ``:`` in a topic, and ``.`` and ``_`` for the same: so ``-``, ``:`` and ``.`` are
        written ``--``, ``-c`` and ``-d``, and no two queues share a topic.
        """
        check_name("queue", queue)
        if queue == DEFAULT_QUEUE:
            return self.settings.topic
        topic = f"{self.settings.topic}.{queue.replace('-', '--').replace(':', '-c').replace('.', '-d')}"
        if len(topic) > MAX_TOPIC:
            raise InvalidName(
                f"queue name {queue[:40]!r}… gives a topic of more than {MAX_TOPIC} characters; shorten it"
            )
        return topic

    # -- clients -----------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Fail fast and say why: each failed client of kafka-python leaves its thread and sockets behind, and no reason."""
        for number, server in enumerate(self.settings.kafka_servers, 1):
            host, _, port = server.rpartition(":")
            login = self._login()
            mechanism = get_sasl_mechanism(login["sasl_mechanism"])(**login) if login else None
            try:
                knock(host.strip("[]"), int(port), self._tls, self.settings.kafka_sasl_mechanism, mechanism)
                return
            except (OSError, Refused) as error:
                if number == len(self.settings.kafka_servers):
                    raise self.unavailable(error) from error

    def _login(self) -> dict[str, Any]:
        settings = self.settings
        if settings.kafka_sasl_mechanism is None:
            return {}
        return {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password,
        }

    def _connection(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": list(self.settings.kafka_servers),
            "security_protocol": self.settings.kafka_security_protocol,
            "ssl_context": self._tls,
            **self._login(),
            "reconnect_backoff_ms": 50,
            "reconnect_backoff_max_ms": 1000,
            "request_timeout_ms": 10_000,
            "bootstrap_timeout_ms": 3000,  # the default of 30 s leaves people waiting for the sentence
        }

    def _guard(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (KafkaError, OSError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: BaseException) -> BrokerUnavailable:
        """An error of kafka-python as ours, in one sentence."""
        return kafka_unavailable(error, self.settings)

    def _admin(self) -> KafkaAdminClient:
        self._probe()
        return KafkaAdminClient(**self._connection())

    def _with_admin(self, call: Callable[[KafkaAdminClient], T]) -> T:
        def run() -> T:
            admin = self._admin()
            try:
                return call(admin)
            finally:
                admin.close()

        return self._guard(run)

    def ping(self) -> None:
        """Return once Kafka has answered a request; raises BrokerUnavailable, after about ten seconds at most."""
        with self._ping_lock:
            if self._pinger is not None:
                try:
                    self._pinger.describe_cluster()
                    return
                except (
                    KafkaError,
                    OSError,
                ) as error:  # one of several brokers may have gone: a new connection finds another
                    logger.debug("asking Kafka anew: %s", error)
                    self._drop_pinger()
            self._pinger = self._guard(self._admin)

    def _drop_pinger(self) -> None:
        pinger, self._pinger = self._pinger, None
        if pinger is not None:
            pinger.close()

    def ensure_topics(self, topics: Iterable[str]) -> None:
        """Create what is missing; raises BrokerUnavailable."""
        missing = [topic for topic in topics if topic not in self._known_topics]
        if not missing:
            return
        self._with_admin(lambda admin: self._create(admin, missing))
        self._known_topics.update(missing)

    def forget_topic(self, topic: str) -> None:
        """Look again, before the next record, whether it is there: somebody may have deleted it."""
        self._known_topics.discard(topic)

    def _create(self, admin: KafkaAdminClient, topics: Sequence[str]) -> None:
        existing = set(admin.list_topics())
        retention = str(int(self.settings.topic_retention * 1000))
        for topic in topics:
            if topic in existing:
                continue
            spec = {
                "num_partitions": self.settings.partitions,
                "replication_factor": self.settings.replication_factor,
                "configs": {"retention.ms": retention},
            }
            try:
                admin.create_topics({topic: spec}, wait_for_metadata=True)
                logger.info("created topic %s with %d partitions", topic, self.settings.partitions)
            except TopicAlreadyExistsError:
                logger.debug("topic %s was created by somebody else", topic)

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
            future = self.producer().send(
                record.topic,
                record.body,
                key=record.id.encode(),
                headers=[(HEADER, record.header)],
                partition=record.partition,
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
        """Keep an unreadable record with its reason in the dead topic; one of the two is called later, as by :meth:`send`.

        Raises:
            BrokerUnavailable: it could not even be queued.
        """
        headers = [(REASON_HEADER, reason.encode()[:1000]), ("yadtq-topic", topic.encode())]
        if received.header is not None:
            headers.append((HEADER, received.header[:1000]))
        body = received.body[:1_000_000]

        def run() -> None:
            self.ensure_topics([self.settings.dead_topic])
            future = self.producer().send(self.settings.dead_topic, body, key=received.key, headers=headers)
            future.add_callback(lambda _meta: done())
            future.add_errback(failed)

        self._guard(run)

    def partition_count(self, topic: str) -> int:
        """How many partitions a topic has; raises BrokerUnavailable."""
        return len(self._guard(lambda: self.producer().partitions_for(topic)))

    def close(self) -> None:
        """Close the producer; a later call makes a new one."""
        with self._ping_lock:
            self._drop_pinger()
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
        consumer = self._guard(
            lambda: KafkaConsumer(
                **self._connection(),
                group_id=self.settings.group_id,
                partition_assignment_strategy=[CooperativeStickyAssignor],
                session_timeout_ms=10_000,
                heartbeat_interval_ms=3000,
                max_poll_interval_ms=60_000,
                metadata_max_age_ms=30_000,
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
        return TaskConsumer(consumer, topics, handler, self._guard)

    def read_back(self, topic: str, partition: int, offset: int) -> Received | None:
        """The record at these coordinates, or None where Kafka has deleted it; raises BrokerUnavailable."""

        def run() -> Received | None:
            consumer = KafkaConsumer(**self._connection(), enable_auto_commit=False, metrics_enabled=False)
            try:
                target = TopicPartition(topic, partition)
                consumer.assign([target])
                consumer.seek(target, offset)
                deadline = time.monotonic() + 5
                while time.monotonic() < deadline:
                    for record in consumer.poll(timeout_ms=500, max_records=1).get(target, ()):
                        return _received(record) if record.offset == offset else None
                return None
            finally:
                consumer.close()

        return self._guard(run)

    def group_positions(self, topics: Sequence[str]) -> dict[tuple[str, int], tuple[int, int, int]]:
        """Per partition (first offset kept, committed offset of the workers, end); raises BrokerUnavailable."""

        def run(admin: KafkaAdminClient) -> dict[tuple[str, int], tuple[int, int, int]]:
            partitions = _partitions_of(admin, topics)
            first = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
            end = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
            committed = admin.list_group_offsets(self.settings.group_id)
            found = committed[self.settings.group_id]
            return {
                (tp.topic, tp.partition): (
                    first[tp].offset,
                    max(found[tp].offset, 0) if tp in found else 0,
                    end[tp].offset,
                )
                for tp in partitions
            }

        return self._with_admin(run)

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

        def run(admin: KafkaAdminClient) -> dict[str, Any]:
            own = self.settings.topic
            names = [topic for topic in admin.list_topics() if topic == own or topic.startswith(own + ".")]
            brokers = admin.describe_cluster()["brokers"]
            return {
                "version": admin.get_broker_version_data(brokers[0]["broker_id"]).broker_version_str,
                "brokers": len(brokers),
                "topics": _describe_topics(admin, names),
            }

        found = self._with_admin(run)
        try:
            positions = self.group_positions(list(found["topics"])) if found["topics"] else {}
        except BrokerUnavailable as error:
            if not isinstance(error.__cause__, RetriableError):  # a Kafka that has never had a group, for one
                raise
            return {**found, "group_lag": None}
        found["group_lag"] = sum(end - max(first, committed) for first, committed, end in positions.values())
        return found


def _describe_topics(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, int | None]]:
    """Per topic its partitions, copies, and how many copies must be in step; the last is None where Kafka does not tell."""
    wanted = [ConfigResource("TOPIC", name, {"min.insync.replicas": None}) for name in names]
    configs = admin.describe_configs(wanted, config_filter="all").get("topic", {}) if names else {}
    found: dict[str, dict[str, int | None]] = {}
    for topic in admin.describe_topics(list(names)) if names else []:
        name, parts = topic["name"], topic["partitions"]
        in_step = configs.get(name, {}).get("min.insync.replicas", {}).get("value")
        found[name] = {
            "partitions": len(parts),
            "copies": min((len(part["replica_nodes"]) for part in parts), default=0),
            "in_step": int(in_step) if in_step else None,
        }
    return found


def _partitions_of(admin: KafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    described = admin.describe_topics(list(topics)) if topics else []
    return [
        TopicPartition(topic["name"], part["partition_index"]) for topic in described for part in topic["partitions"]
    ]


def _received(record: Any) -> Received:
    header = next((value for name, value in record.headers if name == HEADER), None)
    return Received(record.offset, record.key, record.value or b"", header, record.timestamp)


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


class TaskConsumer:
    """A group member; only the poll thread may use it."""

    def __init__(
        self, consumer: KafkaConsumer, topics: Sequence[str], handler: RebalanceHandler, guard: Callable[..., Any]
    ) -> None:
        self._consumer = consumer
        self._guard = guard
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
        """Commit without waiting; ``confirmed`` is called on the IO thread when Kafka has accepted it."""

        def answered(_offsets: Any, response: Any) -> None:
            if isinstance(response, Exception):
                logger.debug("commit refused: %s", response)
            else:
                confirmed(offsets)

        self._consumer.commit_async(_commit_form(offsets), callback=answered)

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
