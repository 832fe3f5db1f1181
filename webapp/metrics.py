"""``/metrics`` for Prometheus: what Redis knows of tasks, queues and workers, read anew at each scrape."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from webapp.engine import engine
from yadtq.core.yadtq_histogram import LAST, PER_OCTAVE, Histogram, middle_of
from yadtq.core.yadtq_task import TERMINAL, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from yadtq.core.yadtq_views import Views

pages = Blueprint("metrics", __name__)

_COUNTERS = {
    "rebuilt": ("yadtq_tasks_rebuilt", "Rows that Redis had lost, made again from Kafka."),
    "fenced": ("yadtq_outcomes_dropped", "Outcomes that came too late and were dropped."),
    "rejected": ("yadtq_records_rejected", "Records that could not be trusted or read."),
}


@pages.get("/metrics")
def metrics() -> Response:
    """All figures in the text format."""
    registry = CollectorRegistry()
    registry.register(_Figures(engine().views))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


class _Figures(Collector):
    """One look at Redis."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def describe(self) -> list[Metric]:
        """Nothing, so that registering does not look at Redis."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("yadtq", "The web that answers.", {"version": version("yadtq")})
        yield from self._tasks()
        yield from self._queues()
        yield from self._workers()
        waited, ran = self._views.lengths_since_start()
        yield _histogram("yadtq_task_wait_seconds", "From queued to claimed, of runs that ended.", waited)
        yield _histogram("yadtq_task_run_seconds", "From claimed to finished, of the same runs.", ran)

    def _tasks(self) -> Iterator[Metric]:
        counts, totals = self._views.counts(), self._views.totals()
        present = GaugeMetricFamily(
            "yadtq_tasks", "Tasks by state; of ended ones the failed that are kept.", labels=["status"]
        )
        ended = CounterMetricFamily("yadtq_tasks_ended", "Tasks that ended, since the start.", labels=["status"])
        for status in TaskStatus:
            if status in TERMINAL:
                ended.add_metric([status.value], totals.get(status.value, 0))
            if status not in TERMINAL or status is TaskStatus.FAILED:
                present.add_metric([status.value], counts[status])
        yield present
        yield ended
        for name, (metric, text) in _COUNTERS.items():
            yield CounterMetricFamily(metric, text, value=totals.get(name, 0))
        yield GaugeMetricFamily(
            "yadtq_outbox_tasks", "Tasks that Kafka has not acknowledged.", self._views.outbox_size()
        )
        yield GaugeMetricFamily(
            "yadtq_outbox_age_seconds", "How long the first has been there.", self._views.outbox_age()
        )

    def _queues(self) -> Iterator[Metric]:
        backlog = GaugeMetricFamily("yadtq_queue_backlog", "Tasks that wait in a queue.", labels=["queue"])
        running = GaugeMetricFamily("yadtq_queue_processing", "Tasks of a queue that run.", labels=["queue"])
        oldest = GaugeMetricFamily(
            "yadtq_queue_oldest_wait_seconds", "How long the oldest has waited.", labels=["queue"]
        )
        for queue in self._views.queues():
            backlog.add_metric([queue.name], queue.queued)
            running.add_metric([queue.name], queue.processing)
            oldest.add_metric([queue.name], queue.oldest_wait or 0.0)
        yield from (backlog, running, oldest)

    def _workers(self) -> Iterator[Metric]:
        online = [worker for worker in self._views.workers() if worker.online]
        slots, busy = sum(one.concurrency for one in online), sum(one.busy for one in online)
        blind = sum(bool(one.kafka_trouble) for one in online)
        yield GaugeMetricFamily("yadtq_workers_online", "Workers that beat within 30 s.", len(online))
        yield GaugeMetricFamily("yadtq_workers_without_kafka", "Of these, workers that cannot reach Kafka.", blind)
        yield GaugeMetricFamily("yadtq_slots", "Tasks that the workers online can run at once.", slots)
        yield GaugeMetricFamily("yadtq_slots_busy", "Slots that run a task.", busy)


def _histogram(name: str, text: str, found: Histogram) -> Metric:
    """One Prometheus bucket an octave; the sum is that of the buckets' middles, to 9.1 %."""
    reached, buckets = 0, []
    for bucket in range(LAST + 1):
        reached += found.counts.get(bucket, 0)
        if bucket % PER_OCTAVE == 0 and bucket < LAST:
            buckets.append((str(2 ** (bucket // PER_OCTAVE) / 1000), float(reached)))
    total = sum(count * middle_of(bucket) for bucket, count in found.counts.items())
    family = HistogramMetricFamily(name, text)
    family.add_metric([], [*buckets, ("+Inf", float(found.total))], total)
    return family
