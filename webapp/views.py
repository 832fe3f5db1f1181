"""The overview: what needs a person, then numbers, then lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, render_template

from webapp.attention import concerns
from webapp.charts import SPAN_WORDS, lengths, throughput, ticks
from webapp.engine import engine
from webapp.params import wanted_span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flask.typing import ResponseReturnValue

    from yadtq.core.yadtq_views import QueueInfo, WorkerInfo

pages = Blueprint("views", __name__)

_GROUPS = 5  # of failures, on the overview


@pages.get("/")
def overview() -> ResponseReturnValue:
    """What needs a person, then numbers, then lists."""
    reads, span = engine().views, wanted_span()
    mark = reads.change_mark()  # first: a change during the reads below is then told again
    workers, queues, groups = reads.workers(), reads.queues(), reads.failure_groups(_GROUPS)
    worst, alarms = reads.worst_failures(), engine().alarms.current()
    rates = reads.rates(span)
    minutes, held = reads.throughput(60), engine().kafka.held()
    words = SPAN_WORDS[span]
    return render_template(
        "overview.html",
        mark=mark,
        span=span,
        spans=SPAN_WORDS,
        concerns=concerns(workers, queues, minutes, worst, alarms, held),
        counts=reads.counts(),
        chart=throughput(rates, words),
        waited=lengths("Waiting time", rates, lambda rate: rate.waited, words),
        ran=lengths("Running time", rates, lambda rate: rate.ran, words),
        ticks=ticks(rates),
        groups=groups,
        workers=workers,
        held={head.task.queue for head in held},
        queues=[(queue, engine().topic_of(queue.name), _load(queue, workers)) for queue in queues],
        flows=engine().kafka.flows(),
        due=reads.next_due(),
        curves=_lag_curves(reads.lags()),
    )


def _lag_curves(minutes: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, list[int]]:
    """By topic, its lag from minute to minute."""
    topics = {topic for minute in minutes for topic in minute}
    return {topic: [sum(minute.get(topic, ())) for minute in minutes] for topic in topics}


@dataclass(frozen=True)
class Load:
    """The slots of the workers online that take from a queue, which they may share with other queues."""

    slots: int
    busy: int
    ahead: int  # of the queue's tasks that are claimed, how many have no slot yet, at least


def _load(queue: QueueInfo, workers: Sequence[WorkerInfo]) -> Load:
    serving = [worker for worker in workers if worker.online and queue.name in worker.queues]
    busy = sum(worker.busy for worker in serving)
    held = sum(worker.held for worker in serving)
    ahead = max(0, min(held, queue.processing) - busy)
    return Load(sum(worker.concurrency for worker in serving), busy, ahead)
