"""What the web uses of the task queue: one of each per process, connected at first use."""

from __future__ import annotations

import logging
import threading
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from flask import current_app

from webapp.alarms import Alarms
from webapp.driver import BulkDriver
from webapp.kafka_watch import KafkaWatch
from yadtq import TaskClient, create_yadtq
from yadtq.api.yadtq_bulk import BulkJobs
from yadtq.core.yadtq_accounts import Accounts
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_views import Views
from yadtq.errors import InvalidName

if TYPE_CHECKING:
    from yadtq.config import Settings
    from yadtq.core.yadtq_broker import Broker
    from yadtq.core.yadtq_result_db import ResultStore

log = logging.getLogger(__name__)


class Engine:
    """Readers, accounts and the client that submits, all on one broker and one store."""

    def __init__(self, broker: Broker, store: ResultStore) -> None:
        self.settings: Settings = store.settings
        self.store = store
        self.views = Views(store)
        self.accounts = Accounts(store)
        self.redis_outage = OutageLog(log, "Redis", "pages and the API answer 503 until it is back")
        self.alarms = Alarms(self.views, broker, self.redis_outage, store.settings.time_scale)
        self.bulk = BulkDriver(store, self.jobs)
        self.kafka = KafkaWatch(broker, store, self.views)
        self._broker = broker
        self._client: TaskClient | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> TaskClient:
        """The client; made at first use, since its threads would not live through gunicorn's fork."""
        with self._lock:
            if self._client is None:
                self._client = TaskClient(self._broker, self.store)
            return self._client

    def jobs(self) -> BulkJobs:
        """The bulk jobs."""
        return BulkJobs(self.client, self.store)

    def topic_of(self, queue: str) -> str:
        """The topic that carries a queue; nothing where a name in Redis cannot be one, so that the page still shows the rest."""
        try:
            return self._broker.topic_of(queue)
        except InvalidName:
            return ""

    def close(self) -> None:
        """Send what waits, then drop the connections; for tests and scripts, a server just ends."""
        self.bulk.close()
        self.kafka.close()
        self.alarms.close()
        if self._client is not None:
            self._client.close()
        self._broker.close()
        self.store.close()


def open_engine(settings: Settings | None, overrides: dict[str, Any]) -> Engine:
    """The engine for given settings, or for those of the environment."""
    return Engine(*create_yadtq(**{**_as_arguments(settings), **overrides}))


def _as_arguments(settings: Settings | None) -> dict[str, Any]:
    """Only what differs from the default: a host and a URL of Redis given together are refused."""
    if settings is None:
        return {}
    chosen = {field: getattr(settings, field.name) for field in fields(settings)}
    return {field.name: value for field, value in chosen.items() if value != field.default}


def engine() -> Engine:
    """The engine of the app that serves the present request."""
    found: Engine = current_app.extensions["yadtq"]
    return found
