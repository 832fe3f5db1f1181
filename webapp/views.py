"""The pages that show things: overview, workers, one worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, abort, render_template

from webapp.charts import throughput
from webapp.engine import engine
from yadtq.core.yadtq_task import TaskStatus

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("views", __name__)

_NEWEST = 5  # failures on the overview


@pages.get("/")
def overview() -> ResponseReturnValue:
    """What needs a person, then numbers, then lists."""
    reads = engine().views
    mark = reads.change_mark()  # first: a change during the reads below is then told again
    return render_template(
        "overview.html",
        mark=mark,
        counts=reads.counts(),
        chart=throughput(reads.throughput(60)),
        failures=reads.tasks(TaskStatus.FAILED, limit=_NEWEST).items,
        workers=reads.workers(),
        queues=[(queue, engine().topic_of(queue.name)) for queue in reads.queues()],
    )


@pages.get("/workers")
def workers() -> ResponseReturnValue:
    """All workers that beat within the last hour."""
    reads = engine().views
    mark = reads.change_mark()
    everyone = reads.workers()
    running = reads.tasks_by_id([task_id for worker in everyone for task_id in worker.running[:3]])
    return render_template("workers.html", mark=mark, workers=everyone, running=running)


@pages.get("/workers/<worker_id>")
def worker(worker_id: str) -> ResponseReturnValue:
    """One worker and what it runs."""
    reads = engine().views
    mark = reads.change_mark()
    found = reads.worker(worker_id)
    if found is None:
        abort(404, "No worker with this id has sent a heartbeat in the last hour.")
    running = reads.tasks_by_id(found.running)
    return render_template("worker.html", mark=mark, worker=found, running=running)
