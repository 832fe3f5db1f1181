"""Topics: their names, whether they are there, and making those that are not: at their first use, or anew where somebody deleted one.

A part of `yadtq_broker`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError

from yadtq.config import Settings
from yadtq.core.yadtq_connection import Connection
from yadtq.core.yadtq_task import DEFAULT_QUEUE, check_name
from yadtq.errors import InvalidName

logger = logging.getLogger(__name__)

ASK_FOR = 5.0  # seconds after which a question that fails is not asked again
MAX_TOPIC = 249  # characters, Kafka's bound

T = TypeVar("T")


class Topics(Connection):
    """What a broker knows of topics, and the one connection by which it asks often."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._known_topics: set[str] = set()
        self._expected: set[str] = set()  # have been there: to make one of these is worth a warning
        self._asker: KafkaAdminClient | None = None
        self._asker_lock = threading.Lock()

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

    # -- looks -------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Return once Kafka has answered a request; raises BrokerUnavailable, after about ten seconds at most."""
        self._ask(lambda admin: admin.describe_cluster())

    def topic_ids(self, topics: Sequence[str]) -> dict[str, Any]:
        """Those that are there, with Kafka's own id, which is another one once it was made anew; raises BrokerUnavailable."""
        described = self._ask(lambda admin: admin.describe_topics(list(topics)))
        # Any other error is no proof that it is gone.
        there = [one for one in described if one["error_code"] != UnknownTopicOrPartitionError.errno]
        return {one["name"]: one.get("topic_id") for one in there}

    def _ask(self, call: Callable[[KafkaAdminClient], T]) -> T:
        """Again where it fails at once: one of several brokers may have gone, and a new client be sent to it by the others."""
        give_up_at, tries = time.monotonic() + ASK_FOR, 1 + len(self.settings.kafka_servers)
        with self._asker_lock:
            while True:
                if self._asker is None:
                    self._asker = self._guard(self._admin)
                try:
                    return call(self._asker)
                except (KafkaError, OSError) as error:
                    self._drop_asker()
                    tries -= 1
                    if not tries or time.monotonic() > give_up_at:
                        raise self.unavailable(error) from error
                    logger.debug("asking Kafka anew: %s", error)

    def _drop_asker(self) -> None:
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.close()

    def close(self) -> None:
        """Drop the connection; a later call opens a new one."""
        with self._asker_lock:
            self._drop_asker()

    def begin_in_child(self) -> None:
        """In a forked process: the connection is its parent's."""
        self._asker_lock = threading.Lock()
        self._asker = None

    # -- making ------------------------------------------------------------------------------------

    def ensure_topics(self, topics: Iterable[str]) -> None:
        """Create what is missing, as far as is known without asking Kafka each time; raises BrokerUnavailable."""
        missing = [topic for topic in topics if topic not in self._known_topics]
        if missing:
            self.make_topics(missing)

    def make_topics(self, topics: Sequence[str]) -> None:
        """Create what Kafka does not have; raises BrokerUnavailable."""
        self._with_admin(lambda admin: self._create(admin, topics))
        self._known_topics.update(topics)
        self._expected.update(topics)

    def expect_topics(self, topics: Iterable[str]) -> None:
        """These were there before: should one have to be made, somebody deleted it, and that is told of."""
        self._expected.update(topics)

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
                self._tell_of(topic)
            except TopicAlreadyExistsError:
                logger.debug("topic %s was created by somebody else", topic)

    def _tell_of(self, topic: str) -> None:
        if topic not in self._expected:
            logger.info("created topic %s with %d partitions", topic, self.settings.partitions)
            return
        logger.warning(
            "topics: %s was missing and is made anew with %d partitions; let nobody delete it, and see that "
            "YADTQ_KAFKA_SERVERS names the Kafka it was in: what waited there is published again from Redis within minutes",
            topic,
            self.settings.partitions,
        )
