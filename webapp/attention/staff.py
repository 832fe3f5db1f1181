"""Whether workers are there, and keep up with their queues."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from flask import url_for

from webapp.attention.concern import Concern, Cure
from webapp.starting import start_command
from webapp.wording import duration, joined, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from yadtq.core.yadtq_views import QueueInfo, WorkerInfo

_MOST_WORKERS = 3
_LONG = 60.0  # seconds a task may wait while all slots are busy before a queue is said to back up


def missing(workers: Sequence[WorkerInfo], queues: Sequence[QueueInfo]) -> Iterator[Concern]:
    """No worker at all, or some that fell silent."""
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
            command=start_command(workers),
        )
        return
    at_work = {worker.name for worker in workers if worker.online}
    silent = [worker for worker in workers if worker.silent]
    silent = [worker for worker in silent if worker.held or worker.name not in at_work]  # else it was started again
    for worker in silent[:_MOST_WORKERS]:
        yield _silent(worker)
    if len(silent) > _MOST_WORKERS:
        others = len(silent) - _MOST_WORKERS
        title = f"{others} more {'worker is' if others == 1 else 'workers are'} offline."
        yield Concern("failed", "offline", title, "", url_for("workers.index"), "All workers")


def _silent(worker: WorkerInfo) -> Concern:
    url, name = url_for("workers.show", worker_id=worker.id), f"{worker.name} is offline."
    if worker.held:
        text = f"{_its(worker.held)} to the queue within 35 s of its last heartbeat,"
        return Concern("failed", "offline", name, text, url, at=worker.beat_at)
    count = len(worker.running)
    text = f"Its {_tasks(count)} went back to the queue" if count else "It ran nothing"
    seen = Cure("Dismiss", url_for("workers.dismiss", worker_id=worker.id), title="Seen: tell of it no more")
    return Concern("warn", "offline", name, f"{text}; last heartbeat", url, at=worker.beat_at, cures=(seen,))


def _its(count: int) -> str:
    return "Its task goes back" if count == 1 else f"Its {number(count)} tasks go back"


def unserved(workers: Sequence[WorkerInfo], queues: Sequence[QueueInfo]) -> Iterator[Concern]:
    """Queues with tasks and without a worker."""
    served = {queue for worker in workers if worker.online for queue in worker.queues}
    if not served:
        return  # that is told already
    for queue in queues:
        if queue.queued and queue.name not in served:
            yield Concern(
                "failed",
                "queued",
                f"No worker takes from the queue {queue.name}.",
                f"{_waiting(queue.queued, queue.oldest_wait)}. Start one with",
                url_for("tasks.index", q=f"queue:{queue.name}", status="queued", order="oldest"),
                command=start_command(workers, queue.name),
            )


def paused(workers: Sequence[WorkerInfo], queues: Sequence[QueueInfo]) -> Iterator[Concern]:
    """Queues whose workers are all paused, those of the same workers in one line."""
    alike: dict[tuple[str, ...], list[QueueInfo]] = defaultdict(list)
    by_id = {worker.id: worker for worker in workers if worker.online}
    for queue in queues:
        serving = [worker for worker in by_id.values() if queue.name in worker.queues]
        if any(worker.paused for worker in serving) and not any(worker.claims for worker in serving):
            alike[tuple(worker.id for worker in serving if worker.paused)].append(queue)
    for ids, named in alike.items():
        waiting, oldest = sum(queue.queued for queue in named), [queue.oldest_wait or 0.0 for queue in named]
        names = joined(queue.name for queue in named)
        who = f"All workers of {names} are paused" if len(ids) > 1 else f"The only worker of {names} is paused"
        idle = [by_id[one] for one in ids if "resume" not in by_id[one].asked]
        cures = tuple(_resume(worker, len(ids)) for worker in idle[:_MOST_WORKERS])
        text = f"{_waiting(waiting, max(oldest))}." if waiting else "Tasks would wait."
        text += "" if idle else " Asked to resume."
        level = "failed" if waiting else "warn"
        yield Concern(level, "pause", f"{who}.", text, url_for("workers.index"), "Workers", cures=cures)


def _resume(worker: WorkerInfo, among: int) -> Cure:
    words = f"Resume {worker.name}" if among > 1 else "Resume"
    return Cure(words, url_for("workers.resume", worker_id=worker.id), title="Take tasks again")


def backing_up(workers: Sequence[WorkerInfo], queues: Sequence[QueueInfo]) -> Iterator[Concern]:
    """Queues whose tasks wait long for a slot; not those whose oldest wait is only bounded."""
    for queue in queues:
        if not queue.queued or queue.oldest_is_bound or (queue.oldest_wait or 0.0) <= _LONG:
            continue
        serving = [worker for worker in workers if worker.claims and queue.name in worker.queues]
        full = [worker for worker in serving if worker.busy >= worker.concurrency]
        if full and len(full) == len(serving):
            yield _all_busy(queue, full)
        elif full:
            yield _one_sided(queue, full, sum(worker.concurrency - worker.busy for worker in serving))


def _all_busy(queue: QueueInfo, full: Sequence[WorkerInfo]) -> Concern:
    slots = sum(worker.concurrency for worker in full)
    busy = "The only slot of its workers is busy" if slots == 1 else f"All {slots} slots of its workers are busy"
    return Concern(
        "warn",
        "queued",
        f"{queue.name} backs up.",
        f"{busy}; {_waiting(queue.queued, queue.oldest_wait)}. See what runs, or start another worker with",
        _running_in(queue),
        "What runs",
        command=start_command(full, queue.name),
    )


def _one_sided(queue: QueueInfo, full: Sequence[WorkerInfo], free: int) -> Concern:
    """Tasks wait in the partitions of busy workers, which only these read."""
    names, slots = joined([worker.name for worker in full][:_MOST_WORKERS]), sum(worker.concurrency for worker in full)
    busy = "Its only slot is busy" if slots == 1 else f"All {slots} slots there are busy"
    return Concern(
        "warn",
        "queued",
        f"{queue.name} backs up behind {names}.",
        f"{busy}, {number(free)} {'is' if free == 1 else 'are'} free elsewhere;"
        f" {_waiting(queue.queued, queue.oldest_wait)}. A worker that is paused gives its partitions to others",
        _running_in(queue),
        "What runs",
        cures=tuple(_pause(worker, len(full)) for worker in full[:_MOST_WORKERS] if "pause" not in worker.asked),
    )


def _pause(worker: WorkerInfo, among: int) -> Cure:
    return Cure(
        f"Pause {worker.name}" if among > 1 else "Pause",
        url_for("workers.pause", worker_id=worker.id),
        title="What runs goes on; after a minute others have its partitions",
    )


def _waiting(count: int, oldest: float | None) -> str:
    words = f"{_tasks(count)} {'waits' if count == 1 else 'wait'}"
    if not oldest:
        return words
    return f"{words}{'' if count == 1 else ', the oldest'} for {duration(oldest)}"


def _tasks(count: int) -> str:
    return f"{number(count)} {'task' if count == 1 else 'tasks'}"


def _running_in(queue: QueueInfo) -> str:
    return url_for("tasks.index", q=f"queue:{queue.name}", status="processing")
