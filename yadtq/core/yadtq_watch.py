"""A worker's eye on its servers: what is wrong with them is said once at the start, and when Kafka goes and comes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_checks import Level
from yadtq.core.yadtq_checkup import at_start
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.errors import BrokerUnavailable, ResultStoreUnavailable

logger = logging.getLogger(__name__)

PING_EVERY = 5.0  # seconds; kafka-python itself is silent about a Kafka that has gone, and tries again for ever


class Watch:
    """One thread that asks Kafka whether it is there; nothing waits for it."""

    def __init__(self, store: ResultStore, broker: Broker, rejected: Callable[[], int]) -> None:
        self._store = store
        self._broker = broker
        self._rejected = rejected  # how many records this worker has put aside so far
        self._counted = 0
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def loop(self) -> None:
        self._look_once()
        while not self._stop.wait(PING_EVERY * self._store.settings.time_scale):
            try:
                self._broker.ping()
                self._broker.outage.up()
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
