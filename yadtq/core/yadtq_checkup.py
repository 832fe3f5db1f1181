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
        found, workers = broker.describe(), _by_topic(broker, online)
        yield from checks.kafka_checks(found, store.settings, workers)
        yield from checks.missing_topic_checks(found, store.settings, workers)
    except BrokerUnavailable as error:
        yield Check("Kafka", Level.FAIL, str(error))


def at_start(broker: Broker, store: ResultStore) -> Iterator[Check]:
    """What a worker that starts should tell of: all that is not as it should be and concerns workers.

    Not of a topic that is missing: it has made its own, and another worker may be just about to.

    Raises:
        ResultStoreUnavailable, BrokerUnavailable
    """
    yield from _bad(checks.redis_checks(store.describe()))
    workers = _by_topic(broker, _online(Views(store)))
    yield from _bad(checks.kafka_checks(broker.describe(), store.settings, workers))


def _bad(found: Iterator[Check]) -> Iterator[Check]:
    return (check for check in found if check.level is not Level.OK)


def _by_topic(broker: Broker, online: list[WorkerInfo]) -> Counter[str]:
    return Counter(broker.topic_of(queue) for worker in online for queue in worker.queues)


def _online(views: Views) -> list[WorkerInfo]:
    return [worker for worker in views.workers() if worker.online]
