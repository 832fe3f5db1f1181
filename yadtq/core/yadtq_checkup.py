"""The looks at the servers that the checks of yadtq_checks judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from yadtq.core import yadtq_checks as checks
from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_checks import Check, Level
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_views import Views, WorkerInfo
from yadtq.errors import BrokerUnavailable, ResultStoreUnavailable


def examine(broker: Broker, store: ResultStore) -> Iterator[Check]:
    """Everything, for a person who asks; a server that is away is one failed check."""
    yield from checks.signing_checks(store.settings)
    online: list[WorkerInfo] = []
    try:
        views = Views(store)
        online = _online(views)
        yield from checks.redis_checks(store.describe())
        yield from checks.clock_checks({worker.name: worker.clock_skew for worker in online})
        yield from checks.notification_checks(views.notifications_enabled())
        yield from checks.worker_checks(len(online))
    except ResultStoreUnavailable as error:
        yield Check("Redis", Level.FAIL, str(error))
    try:
        yield from _kafka(broker, store, online)
    except BrokerUnavailable as error:
        yield Check("Kafka", Level.FAIL, str(error))


def at_start(broker: Broker, store: ResultStore) -> Iterator[Check]:
    """What a worker that starts should tell of: all that is not as it should be and concerns workers.

    Raises:
        ResultStoreUnavailable, BrokerUnavailable
    """
    yield from _bad(checks.redis_checks(store.describe()))
    yield from _bad(_kafka(broker, store, _online(Views(store))))


def _bad(found: Iterator[Check]) -> Iterator[Check]:
    return (check for check in found if check.level is not Level.OK)


def _kafka(broker: Broker, store: ResultStore, online: list[WorkerInfo]) -> Iterator[Check]:
    workers = Counter(broker.topic_of(queue) for worker in online for queue in worker.queues)
    return checks.kafka_checks(broker.describe(), store.settings, workers)


def _online(views: Views) -> list[WorkerInfo]:
    return [worker for worker in views.workers() if worker.online]
