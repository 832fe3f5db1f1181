"""What needs a person, the worst first: the top of the overview. Pure, but for the words of addresses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import url_for

from webapp.wording import duration, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from webapp.alarms import Alarm
    from webapp.kafka_watch import Head
    from yadtq.core.yadtq_views import FailureGroup, MinuteStats, QueueInfo, WorkerInfo

_MOST_WORKERS = 3
_RECENT = 5  # minutes that are held against the rest of the hour
_SPIKE = 10  # failures in that time, at least
_TIMES = 3  # as many as in the rest of the hour, at least


@dataclass(frozen=True)
class Concern:
    """One thing to look at."""

    level: str  # failed or warn, as of an alarm
    icon: str
    title: str
    text: str
    url: str = ""
    at: float | None = None  # a moment the text ends with
    command: str = ""  # one that mends it


def concerns(
    workers: Sequence[WorkerInfo],
    queues: Sequence[QueueInfo],
    hour: Sequence[MinuteStats],
    groups: Sequence[FailureGroup],
    alarms: Sequence[Alarm],
    held: Sequence[Head],
) -> list[Concern]:
    """All there is; alarms that stand on every page are not told again. ``hour`` is its minutes."""
    found = [*_missing(workers, queues), *_unserved(workers, queues), *_spike(hour, groups), *_held(held)]
    found += [Concern(one.level, "warn", one.title, one.text, _page_of(one)) for one in alarms if not one.everywhere]
    return sorted(found, key=lambda concern: concern.level)  # failed before warn


def _page_of(alarm: Alarm) -> str:
    if alarm.name == "rejected":
        return url_for("failed.rejected")
    return url_for("workers.index") if alarm.name.startswith(("clock-", "fenced")) else ""


def _missing(workers: Sequence[WorkerInfo], queues: Sequence[QueueInfo]) -> Iterator[Concern]:
    if not any(worker.online for worker in workers):
        waiting = sum(queue.queued for queue in queues)
        text = (
            "One waiting task stays where it is."
            if waiting == 1
            else f"{number(waiting)} waiting tasks stay where they are."
        )
        yield Concern(
            "failed",
            "offline",
            "No worker is online.",
            f"{text if waiting else 'Tasks would wait.'} Start one with",
            command="yadtq worker workercode",
        )
        return
    missing = [worker for worker in workers if not worker.online and not worker.stopped]
    for worker in missing[:_MOST_WORKERS]:
        url = url_for("workers.show", worker_id=worker.id)
        text = "What it ran goes back to the queue; last heartbeat"
        yield Concern("failed", "offline", f"{worker.name} is offline.", text, url, at=worker.beat_at)
    if len(missing) > _MOST_WORKERS:
        others = len(missing) - _MOST_WORKERS
        yield Concern("failed", "offline", f"{others} more workers are offline.", "", url_for("workers.index"))


def _unserved(workers: Sequence[WorkerInfo], queues: Sequence[QueueInfo]) -> Iterator[Concern]:
    served = {queue for worker in workers if worker.online for queue in worker.queues}
    if not served:
        return  # that is told already
    for queue in queues:
        if queue.queued and queue.name not in served:
            tasks = f"{number(queue.queued)} {'task waits' if queue.queued == 1 else 'tasks wait'}"
            wait = f", the first for {duration(queue.oldest_wait)}" if queue.oldest_wait is not None else ""
            yield Concern(
                "failed",
                "queued",
                f"No worker takes from the queue {queue.name}.",
                f"{tasks}{wait}. Start one with",
                _search(f"queue:{queue.name}", "queued", oldest_first=True),
                command=f"yadtq worker workercode -Q {queue.name}",
            )


def _spike(hour: Sequence[MinuteStats], groups: Sequence[FailureGroup]) -> Iterator[Concern]:
    """Failures of the last minutes beside those of as long a time in the rest of the hour."""
    recent = sum(minute.failed for minute in hour[-_RECENT:])
    before = sum(minute.failed for minute in hour[:-_RECENT]) * _RECENT / max(len(hour) - _RECENT, 1)
    if recent < _SPIKE or recent < _TIMES * before:
        return
    usual = "none in the hour before" if before == 0 else f"usually {before:.0f}"
    most = f", most lately {groups[0].name}: {groups[0].error or groups[0].reason}" if groups else ""
    text = f"{number(recent)} tasks in {_RECENT} minutes, {usual}{most}"
    yield Concern("failed", "failed", "Failures are rising.", text, _search("", "failed"))


def _held(held: Sequence[Head]) -> Iterator[Concern]:
    """The partition that has waited longest by itself, the others in one line."""
    for head in held[:1]:
        topic, partition = head.place
        yield Concern(
            "warn",
            "warn",
            f"{topic}, partition {partition} is held back.",
            f"It waits for {head.task.name}, running for {duration(head.age())} on {head.task.worker};"
            f" {number(head.behind)} {'record' if head.behind == 1 else 'records'} behind it",
            url_for("kafka.index", only="held"),
        )
    if len(held) > 1:
        others = len(held) - 1
        title = f"{others} more {'partition is' if others == 1 else 'partitions are'} held back."
        yield Concern("warn", "warn", title, "", url_for("kafka.index", only="held"))


def _search(typed: str, status: str, *, oldest_first: bool = False) -> str:
    return url_for("tasks.index", q=typed or None, status=status, order="oldest" if oldest_first else None)
