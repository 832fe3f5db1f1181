"""What a person should know of the servers and workers just now: the strips on top of every page, and the API's list."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webapp.wording import as_sentence, duration, number
from yadtq.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yadtq.core.yadtq_broker import Broker
    from yadtq.core.yadtq_outage import OutageLog
    from yadtq.core.yadtq_views import FailedStart, MinuteStats, Views, WorkerInfo

log = logging.getLogger(__name__)

_FRESH = 1.0  # seconds one look at Redis serves all pages of a process
_PING_EVERY = 5.0  # seconds
_LINGER = 60.0  # seconds Kafka is still asked after the last page
_STUCK = 30.0  # seconds in the outbox after which a task has been sent twice in vain
_SKEW = 30.0  # seconds a worker's clock may be off before a page says so; `yadtq doctor` is stricter


@dataclass(frozen=True)
class Alarm:
    """One thing that is wrong, or was in the last hour."""

    name: str
    level: str  # failed: something does not work; warn: it should be looked into
    title: str
    text: str
    everywhere: bool = True  # on every page, not on the overview alone


class Alarms:
    """One per process. Kafka is asked by a thread, so that no page waits for it."""

    def __init__(self, views: Views, broker: Broker, redis_outage: OutageLog, time_scale: float) -> None:
        self._views = views
        self._broker = broker
        self._redis_outage = redis_outage
        self._stuck = _STUCK * time_scale
        self._lock = threading.Lock()
        self._asked = self._read_at = float("-inf")
        self._found: list[Alarm] = []
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._kafka_trouble = ""

    def current(self) -> list[Alarm]:
        """At most a second old; the worst first.

        Raises:
            ResultStoreUnavailable
        """
        with self._lock:
            self._asked = time.monotonic()
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._ask_kafka, name="yadtq-alarms", daemon=True)
                self._thread.start()
            if self._asked - self._read_at >= _FRESH:
                self._found = sorted(self._look(), key=lambda alarm: alarm.level)  # failed before warn
                self._read_at = time.monotonic()
                self._redis_outage.up()
            return self._found

    def close(self) -> None:
        """Ask Kafka no more."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(15)

    def _ask_kafka(self) -> None:
        while not self._ended.is_set() and self._wanted():
            try:
                self._broker.ping()
                self._broker.outage.up()
                self._kafka_trouble = ""
            except BrokerUnavailable as error:
                self._broker.outage.down(str(error))
                self._kafka_trouble = str(error)
            self._ended.wait(_PING_EVERY)

    def _wanted(self) -> bool:
        with self._lock:
            if time.monotonic() - self._asked <= _LINGER:
                return True
            self._thread, self._kafka_trouble = None, ""
            return False

    def _look(self) -> Iterator[Alarm]:
        online = [worker for worker in self._views.workers() if worker.online]
        if self._views.is_full():
            yield Alarm(
                "redis-full",
                "failed",
                "Redis is full.",
                "New tasks and retries are refused; what runs still ends and is written down."
                " Raise maxmemory, or lower result_ttl.",
            )
        yield from self._kafka(online)
        yield from _not_started(self._views.failed_starts(), online)
        yield from _last_hour(self._views.throughput(60))
        yield from _clocks(online)

    def _kafka(self, online: list[WorkerInfo]) -> Iterator[Alarm]:
        waiting, age = self._views.outbox_size(), self._views.outbox_age()
        blind = [worker for worker in online if worker.kafka_trouble]
        tasks = f"{number(waiting)} {'task waits' if waiting == 1 else 'tasks wait'} in the outbox"
        meanwhile = "New tasks are accepted and running ones end; the outbox drains by itself once Kafka is back."
        if self._kafka_trouble or (blind and len(blind) == len(online)):
            reason = self._kafka_trouble or blind[0].kafka_trouble
            yield Alarm(
                "kafka-away", "failed", f"Kafka cannot be reached: {tasks}.", f"{meanwhile} {as_sentence(reason)}"
            )
            return
        if blind:
            names = ", ".join(worker.name for worker in blind[:3]) + (" and others" if len(blind) > 3 else "")
            text = f"They get no tasks; others do. {as_sentence(blind[0].kafka_trouble)}"
            yield Alarm("kafka-away", "warn", f"Kafka cannot be reached by {names}.", text)
        if waiting and age > self._stuck:
            text = f"The first for {duration(age)}: no worker sends them, or Kafka does not take them. The logs of the workers say why."
            yield Alarm("outbox-stuck", "warn", f"Not in Kafka yet: {tasks}.", text)


def _not_started(failed: list[FailedStart], online: list[WorkerInfo]) -> Iterator[Alarm]:
    """Until one starts there."""
    for one in failed:
        if any(worker.host == one.host and worker.started_at > one.at for worker in online):
            continue
        yield Alarm(
            "not-started", "failed", f"A worker cannot start on {one.host}.", as_sentence(one.why), everywhere=False
        )


def _last_hour(minutes: list[MinuteStats]) -> Iterator[Alarm]:
    rebuilt = sum(minute.rebuilt for minute in minutes)
    fenced = sum(minute.fenced for minute in minutes)
    rejected = sum(minute.rejected for minute in minutes)
    if rebuilt:
        yield Alarm(
            "rebuilt",
            "warn",
            f"State rebuilt from Kafka: {number(rebuilt)} {_tasks(rebuilt)} in the last hour.",
            "Redis had lost them: it was emptied, or came back with an older second. Scheduled and retrying tasks"
            " that only Redis held are gone.",
        )
    if rejected:
        yield Alarm(
            "rejected",
            "warn",
            f"{number(rejected)} {'record was' if rejected == 1 else 'records were'} rejected in the last hour.",
            "They never run, and are kept with the reason: Failed, Rejected records.",
            everywhere=False,
        )
    if fenced:
        yield Alarm(
            "fenced",
            "warn",
            f"{number(fenced)} late {'outcome was' if fenced == 1 else 'outcomes were'} dropped in the last hour.",
            "A worker was away for over 30 s and its tasks were moved on; what it still finished does not count.",
            everywhere=False,
        )


def _clocks(online: list[WorkerInfo]) -> Iterator[Alarm]:
    for worker in online:
        if abs(worker.clock_skew) > _SKEW:
            way = "ahead of" if worker.clock_skew > 0 else "behind"
            yield Alarm(
                f"clock-{worker.name}",
                "warn",
                f"The clock of {worker.name} is {duration(abs(worker.clock_skew))} {way} Redis'.",
                f"Times and expiries of its tasks are wrong by that. Synchronise {worker.host} with NTP.",
                everywhere=False,
            )


def _tasks(count: int) -> str:
    return "task" if count == 1 else "tasks"
