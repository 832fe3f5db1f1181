"""What there is beside tasks and workers: queues, functions, figures, the audit log."""

from __future__ import annotations

from typing import cast

from flask import abort

from webapp.api.answers import FunctionList, KafkaState, QueueList, RateList, RatePoint, Stats
from webapp.api.operation import operation
from webapp.api.tasks import PAGE
from webapp.api.values import Value
from webapp.engine import engine
from webapp.kafka_watch import owners
from webapp.suggest import Suggestions, suggest
from yadtq.core.views.rates import SPANS
from yadtq.core.yadtq_survey import Rejected
from yadtq.core.yadtq_views import AuditPage, Span


@operation("GET", "/queues", QueueList)
def queues() -> QueueList:
    """The queues: what waits in them, what runs, and how long the oldest has waited."""
    return QueueList(engine().views.queues())


@operation("GET", "/functions", FunctionList)
def functions() -> FunctionList:
    """The functions that online workers announce, with their parameters."""
    return FunctionList(engine().views.functions())


@operation(
    "GET",
    "/suggestions",
    Suggestions,
    query={"word": Value("string", "the word that is typed, such as `queue:me`", default="")},
)
def suggestions(word: str) -> Suggestions:
    """What a word of a search may become: the conditions there are, or a condition's known values, ten at most."""
    return suggest(word, engine().views)


@operation("GET", "/kafka", KafkaState)
def kafka() -> KafkaState:
    """Each partition with its lag, its owner and what runs at its head; from a look at Kafka a few seconds old at most."""
    glance = engine().kafka.now.get(fresh=2, wait=1.5)
    if glance.value is None:
        abort(503, glance.trouble or "Kafka has not answered yet; ask again.")
    return KafkaState.of(glance.value, glance.trouble, owners(engine().views.workers()))


@operation("GET", "/kafka/rejected", Rejected)
def rejected() -> Rejected:
    """The newest records of the dead topic, with the reason why each was rejected."""
    glance = engine().kafka.rejected.get(fresh=5, wait=1.8)
    if glance.value is None:
        abort(503, glance.trouble or "Kafka has not answered yet; ask again.")
    return glance.value


@operation("GET", "/stats", Stats)
def stats() -> Stats:
    """Counts by state, the last hour by minute, the outbox, what went wrong since the start, and what is wrong now."""
    views = engine().views
    totals = views.totals()
    return Stats(
        counts={str(status): count for status, count in views.counts().items()},
        minutes=views.throughput(60),
        outbox=views.outbox_size(),
        totals={name: totals.get(name, 0) for name in ("fenced", "rebuilt", "rejected")},
        alarms=engine().alarms.current(),
    )


@operation(
    "GET", "/rates", RateList, query={"span": Value("string", "how far back", default="1h", choices=tuple(SPANS))}
)
def rates(span: str) -> RateList:
    """What ended over time, and how long it waited and ran: 60 minutes, 96 quarters of an hour or 168 hours."""
    return RateList([RatePoint.of(rate) for rate in engine().views.rates(cast("Span", span))])


@operation("GET", "/audit", AuditPage, query=PAGE)
def audit(limit: int, cursor: str | None) -> AuditPage:
    """A page of the audit log, newest first."""
    return engine().views.audit(cursor, limit)
