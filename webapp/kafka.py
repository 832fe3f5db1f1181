"""The Kafka page: the group, each partition with its lag and owner, and what holds a partition back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for

from webapp.access import relative_target
from webapp.audit import record
from webapp.engine import engine
from webapp.errors import sentence
from webapp.kafka_watch import lags_by_topic, owners
from yadtq.core.yadtq_intake import DETACH_AFTER
from yadtq.errors import IllegalMove, WorkerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flask import Flask
    from flask.typing import ResponseReturnValue

    from webapp.kafka_watch import Head, KafkaNow, Place
    from yadtq.core.yadtq_survey import PartitionState
    from yadtq.core.yadtq_views import QueueInfo, WorkerInfo

pages = Blueprint("kafka", __name__)

_FRESH = 2.0  # seconds a look at Kafka serves all pages of a process
_WAIT = 1.5  # seconds a page waits for a look
_ALL_OPEN = 40  # partitions that are shown whether they lag or not
_ONLY = {"": "All partitions", "lag": "With lag", "held": "Held back"}


@dataclass(frozen=True)
class Row:
    """One partition."""

    number: int
    state: PartitionState | None  # None while Kafka has not told
    trend: list[int]  # lag by the minute, oldest first
    owner: WorkerInfo | None
    head: Head | None
    held: bool
    stands: float | None  # since when, where it does, without a task at its head that tells why
    moves: bool

    @property
    def why(self) -> str:
        """What keeps its owner from going on, as far as that can be told."""
        if self.owner is None or (self.owner.claims and self.owner.busy < self.owner.concurrency):
            return ""
        if self.owner.paused:
            return f"{self.owner.name} is paused"
        if self.owner.stopping:
            return f"{self.owner.name} is stopping"
        slots = self.owner.concurrency
        return (
            f"the only slot of {self.owner.name} is busy"
            if slots == 1
            else f"all {slots} slots of {self.owner.name} are busy"
        )


@dataclass(frozen=True)
class Topic:
    """One queue's topic."""

    name: str
    queue: str
    rows: list[Row]
    lag: int | None
    trend: list[int]
    open: bool  # its partitions are listed

    @property
    def owners(self) -> list[str]:
        """Names, without repeats."""
        return list(dict.fromkeys(row.owner.name for row in self.rows if row.owner is not None))


def init_app(app: Flask) -> None:
    """Note lags from this process' first request on: threads made before would not live through gunicorn's fork."""
    app.before_request(_watch)


def _watch() -> None:
    engine().kafka.start()


@pages.get("/kafka")
def index() -> ResponseReturnValue:
    """All topics; ``only=lag``, ``only=held`` and ``topic=`` narrow it."""
    reads, watch, only = engine().views, engine().kafka, request.args.get("only", "")
    if only not in _ONLY:
        abort(400, f"There is no view {only[:40]!r}; there are {', '.join(filter(None, _ONLY))}.")
    mark = reads.change_mark()
    workers, queues = reads.workers(), reads.queues()
    glance = watch.now.get(fresh=_FRESH, wait=_WAIT)
    now = glance.value
    held = now.held(watch.held_after) if now else []
    owned, asked = owners(workers), request.args.get("topic", "")
    topics = _topics(now, queues, owned, {head.place for head in held}, asked)
    return render_template(
        "kafka.html",
        mark=mark,
        only=only,
        views=_ONLY,
        glance=glance,
        survey=now.survey if now else None,
        topics=_chosen(topics, only, asked),
        topic_count=len(topics),
        partitions=sum(len(topic.rows) for topic in topics),
        group=engine().settings.group_id,
        held=held,
        held_after=watch.held_after,
        detach_after=DETACH_AFTER * engine().settings.time_scale,
        owned=owned,
        queues=queues,
        outbox=reads.outbox_size(),
        online=[worker for worker in workers if worker.online],
    )


@pages.post("/kafka/detach")
def detach() -> ResponseReturnValue:
    """Ask the worker that reads a partition to let it go on without the task at its head, which runs on."""
    task = engine().views.result(request.form.get("task", ""))
    try:
        worker_id = engine().client.detach(task.id)
    except (IllegalMove, WorkerError) as refusal:
        flash(sentence(refusal), "failed")
    else:
        record("detach", task.id, f"asked of {worker_id}")
        flash(
            f"The worker is asked to go on without {task.name}, which runs on. It hears of it within 5 seconds.",
            "success",
        )
    return redirect(relative_target(request.form.get("next") or url_for("kafka.index")), 303)


def _topics(
    now: KafkaNow | None,
    queues: Sequence[QueueInfo],
    owned: Mapping[Place, WorkerInfo],
    held: set[Place],
    asked: str,
) -> list[Topic]:
    """Every topic by name; without Kafka's word those that workers read."""
    queue_of = {engine().topic_of(queue.name): queue.name for queue in queues}
    known = {(one.topic, one.number): one for one in now.survey.partitions} if now else {}
    standing = now.standing(engine().kafka.stands_after) if now else {}
    history = [*engine().views.lags(), *([lags_by_topic(now.survey)] if now else [])]
    places: dict[str, list[int]] = {}
    for topic, number in sorted(known or owned):
        places.setdefault(topic, []).append(number)
    found = []
    for name, numbers in places.items():
        lags = [minute[name] for minute in history if name in minute]
        lag = sum(known[name, number].lag for number in numbers) if now else None
        is_open = asked == name or len(known or owned) <= _ALL_OPEN or bool(lag)
        rows = [
            Row(
                number,
                known.get((name, number)),
                [minute[number] for minute in lags if number < len(minute)] if is_open else [],
                owned.get((name, number)),
                now.heads.get((name, number)) if now else None,
                (name, number) in held,
                standing.get((name, number)) if (name, number) in owned else None,
                bool(now and (name, number) in now.progress and now.progress[name, number].moved),
            )
            for number in numbers
        ]
        found.append(Topic(name, queue_of.get(name, ""), rows, lag, [sum(minute) for minute in lags], is_open))
    return found


def _chosen(topics: list[Topic], only: str, asked: str) -> list[Topic]:
    """Those asked for, with the partitions asked for."""

    def wanted(row: Row) -> bool:
        return row.held if only == "held" else bool(row.state and row.state.lag)

    if asked:
        return [topic for topic in topics if topic.name == asked]
    if not only:
        return topics
    narrowed = [replace(topic, rows=[row for row in topic.rows if wanted(row)]) for topic in topics]
    return [topic for topic in narrowed if topic.rows]
