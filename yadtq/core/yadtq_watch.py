"""A worker's eye on its servers: what is wrong with them is said once at the start, and when Kafka or a topic goes and comes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_checks import Level
from yadtq.core.yadtq_checkup import at_start
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.errors import BrokerUnavailable, ResultStoreUnavailable

logger = logging.getLogger(__name__)

PING_EVERY = 5.0  # seconds; kafka-python itself is silent about a Kafka that has gone, and tries again for ever


class Watch:
    """One thread that asks Kafka whether it and the queues' topics are there; nothing waits for it."""

    def __init__(
        self, store: ResultStore, broker: Broker, queue_of: Mapping[str, str], rejected: Callable[[], int]
    ) -> None:
        self._store = store
        self._broker = broker
        self._queue_of = queue_of  # by topic
        self._ids: dict[str, Any] = {}  # of the topics, as last seen
        self._missing: set[str] = set()  # topics, at the last look
        self._refused: set[str] = set()  # missing ones of which it was told that they cannot be made anew
        self.lets_go = False  # the worker is to leave its group, since a topic is gone or another one than it was
        self._rejected = rejected  # how many records this worker has put aside so far
        self._counted = 0
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def expect_topics(self) -> None:
        """To be called before the worker joins, which makes what is missing: a queue that had tasks had a topic.

        Raises:
            ResultStoreUnavailable
        """
        ran = self._store.guard(lambda: self._store.client.hgetall(self._store.key("busy")))
        self._broker.expect_topics(topic for topic, queue in self._queue_of.items() if queue.encode() in ran)

    def loop(self) -> None:
        self._look_once()
        while not self._stop.wait(PING_EVERY * self._store.settings.time_scale):
            try:
                self._broker.ping()
                self._broker.outage.up()
                self._mind_topics()
            except BrokerUnavailable as error:
                self._broker.outage.down(str(error))
            self._count()

    def _look_once(self) -> None:
        try:
            for check in at_start(self._broker, self._store):
                level = logging.ERROR if check.level is Level.FAIL else logging.WARNING
                logger.log(level, "%s", check.sentence)
        except (ResultStoreUnavailable, BrokerUnavailable) as error:
            logger.debug("no look at the servers: %s", error)  # the heartbeat, or the loop below, tells of the outage
        except Exception:  # a server that describes itself in an unknown way is no reason not to work
            logger.exception("the look at the servers failed; the worker goes on without it")

    def _mind_topics(self) -> None:
        """Make anew what somebody deleted, at the second look: by then all workers have let go of it.

        One that went on would commit an offset of the old topic for the new one, and records below it would wait for
        the audit. Raises BrokerUnavailable where Kafka does not answer.
        """
        ids = self._broker.topic_ids(list(self._queue_of))
        missing = set(self._queue_of) - ids.keys()
        changed = any(self._ids.get(topic, number) != number for topic, number in ids.items())
        back, new = self._refused - missing, missing - self._missing
        self._ids, self._missing, self._refused = ids, missing, self._refused & missing
        if again := sorted(missing - new):
            self._make_anew(again)
        self.lets_go = bool(changed or back or new)

    def _make_anew(self, topics: list[str]) -> None:
        """The broker tells of it; where Kafka refuses, this does, once."""
        try:
            self._broker.make_topics(topics)
        except BrokerUnavailable as error:
            if not self._refused.issuperset(topics):
                logger.warning("topics: %s is missing and cannot be made anew: %s", ", ".join(topics), error)
            self._refused.update(topics)

    def _count(self) -> None:
        """A repeat after a lost reply may count some twice; nothing but a figure on a page hangs on it."""
        new = self._rejected() - self._counted
        if not new:
            return
        try:
            self._store.count("rejected", new)
            self._counted += new
        except ResultStoreUnavailable as error:
            logger.debug("rejected records are counted later: %s", error)
