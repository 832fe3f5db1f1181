"""The pages that show things: overview, tasks, one task, workers, one worker; and retry and cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, g, redirect, render_template, request

from webapp.access import relative_target
from webapp.audit import record
from webapp.charts import throughput
from webapp.engine import engine
from webapp.errors import sentence
from webapp.params import oldest_first, wanted_status
from webapp.timeline import timeline
from yadtq.core.yadtq_task import TaskStatus
from yadtq.errors import IllegalMove

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.typing import ResponseReturnValue

pages = Blueprint("views", __name__)

_PAGE_ROWS = 50
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


@pages.get("/tasks")
def tasks() -> ResponseReturnValue:
    """One page of tasks, of all or of one state, newest first unless asked otherwise."""
    reads = engine().views
    status, reverse = wanted_status(), oldest_first()
    cursor = request.args.get("cursor") or None
    page = reads.tasks(status, cursor=cursor, limit=_PAGE_ROWS, oldest_first=reverse)
    return render_template(
        "tasks.html",
        mark=page,
        page=page,
        counts=reads.counts(),
        status=status,
        oldest_first=reverse,
        first=cursor is None,
    )


@pages.get("/tasks/<task_id>")
def task(task_id: str) -> ResponseReturnValue:
    """Everything about one task."""
    reads = engine().views
    mark = reads.change_mark()
    detail = reads.task(task_id)
    topic = engine().topic_of(detail.result.queue)
    return render_template(
        "task.html", mark=mark, detail=detail, task=detail.result, moments=timeline(detail), topic=topic
    )


@pages.post("/tasks/<task_id>/retry")
def retry(task_id: str) -> ResponseReturnValue:
    """Run a failed, cancelled or expired task again from its first attempt."""
    return _move("retry", task_id, engine().client.retry, "It is queued again, from its first attempt.")


@pages.post("/tasks/<task_id>/cancel")
def cancel(task_id: str) -> ResponseReturnValue:
    """Cancel a waiting task; ask a running one to stop."""
    return _move("cancel", task_id, engine().client.cancel, "It is cancelled.")


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


def _move(action: str, task_id: str, move: Callable[..., TaskStatus], words: str) -> ResponseReturnValue:
    try:
        status = move(task_id, by=g.user)
    except IllegalMove as refusal:
        flash(sentence(refusal), "failed")
    else:
        record(action, task_id, f"now {status}")
        running = status is TaskStatus.PROCESSING
        flash("Its worker is asked to stop it." if running else words, "success")
    return redirect(relative_target(request.form.get("next") or f"/tasks/{task_id}"), 303)
