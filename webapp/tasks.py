"""The pages of tasks: the list with its search, one task, and what a person does to one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from webapp.access import relative_target
from webapp.audit import record
from webapp.engine import engine
from webapp.errors import sentence
from webapp.listing import Listing, reached, shown_tab, tallies
from webapp.masking import masked
from webapp.spans import spans
from webapp.timeline import timeline
from yadtq.core.yadtq_query import Query
from yadtq.core.yadtq_task import TaskStatus
from yadtq.errors import BrokerUnavailable, IllegalMove, InvalidQuery, RejectedRecord, TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.typing import ResponseReturnValue

    from yadtq.core.yadtq_task import TaskResult
    from yadtq.core.yadtq_views import TaskDetail

pages = Blueprint("tasks", __name__)

_PAGE_ROWS = 50
_WAITS = frozenset({TaskStatus.QUEUED, TaskStatus.SCHEDULED, TaskStatus.RETRYING})


@pages.get("/tasks")
def index() -> ResponseReturnValue:
    """One page of the tasks that match, newest first unless asked otherwise."""
    reads, listing = engine().views, Listing.asked_for()
    try:
        query, counts = listing.query(), tallies(reads, listing)
    except InvalidQuery as refusal:
        return _refused(listing, sentence(refusal)), 400
    page = reads.search(query, cursor=listing.cursor, limit=_PAGE_ROWS, oldest_first=listing.oldest_first)
    return render_template(
        "tasks.html",
        mark=page,
        page=page,
        listing=listing,
        query=query,
        tab=shown_tab(listing, query),
        counts=counts,
        total=reads.count(query).total if query.plain else None,
        reached=reached(page.next),
        problem="",
    )


def _refused(listing: Listing, problem: str) -> str:
    """The list without rows, and beside its box what is wrong with the search."""
    counts = engine().views.counts()
    return render_template(
        "tasks.html", page=None, listing=listing, query=Query(), tab=listing.tab, counts=counts, problem=problem
    )


@pages.get("/tasks/<task_id>")
def show(task_id: str) -> ResponseReturnValue:
    """Everything about one task."""
    reads = engine().views
    mark = reads.change_mark()
    detail = reads.task(task_id)
    trouble = ""
    if detail.args is None and request.args.get("arguments") == "kafka":
        detail, trouble = _read_back(detail)
    task = detail.result
    return render_template(
        "task.html",
        mark=mark,
        detail=detail,
        task=task,
        given=None if detail.args is None else masked({"args": detail.args, "kwargs": detail.kwargs or {}}),
        trouble=trouble,
        moments=timeline(detail, begun=_begun(task)),
        spans=spans(detail),
        facts=engine().kafka.waiting_reason(task_id) if task.status in _WAITS else [],
        waits=task.status in _WAITS,
        topic=engine().topic_of(task.queue),
    )


def _begun(task: TaskResult) -> bool:
    """Whether a claimed task has a slot, as far as its worker's last beat tells."""
    if task.status is not TaskStatus.PROCESSING:
        return True
    full = [one for one in engine().views.workers() if one.name == task.worker and one.held > one.concurrency]
    told = [one for one in full if len(one.running) >= one.concurrency and one.beat_at > (task.started_at or 0)]
    return len(told) != 1 or task.id in told[0].running


def _read_back(detail: TaskDetail) -> tuple[TaskDetail, str]:
    """The task with the arguments that only Kafka has, or why they cannot be had."""
    try:
        call = engine().client.arguments(detail.result.id)
    except (TaskNotFound, RejectedRecord, BrokerUnavailable) as refusal:
        return detail, sentence(refusal)
    return replace(detail, args=list(call.args), kwargs=call.kwargs, options=call.options), ""


@pages.post("/tasks/<task_id>/retry")
def retry(task_id: str) -> ResponseReturnValue:
    """Run a failed, cancelled or expired task again from its first attempt."""
    return _move("retry", task_id, engine().client.retry, "It is queued again, from its first attempt.")


@pages.post("/tasks/<task_id>/cancel")
def cancel(task_id: str) -> ResponseReturnValue:
    """Cancel a waiting task; ask a running one to stop."""
    return _move("cancel", task_id, engine().client.cancel, "It is cancelled.")


@pages.post("/tasks/<task_id>/delete")
def delete(task_id: str) -> ResponseReturnValue:
    """Delete a task that does not run, with all that is kept of it."""
    try:
        engine().client.delete(task_id, by=g.user)
    except IllegalMove as refusal:
        flash(sentence(refusal), "failed")
        return _back(url_for("tasks.show", task_id=task_id))
    record("delete", task_id)
    flash("The task is deleted.", "success")
    return _back(url_for("tasks.index"))


def _move(action: str, task_id: str, move: Callable[..., TaskStatus], words: str) -> ResponseReturnValue:
    try:
        status = move(task_id, by=g.user)
    except IllegalMove as refusal:
        flash(sentence(refusal), "failed")
    else:
        record(action, task_id, f"now {status}")
        running = status is TaskStatus.PROCESSING
        flash("Its worker is asked to stop it." if running else words, "success")
    return _back(url_for("tasks.show", task_id=task_id))


def _back(default: str) -> ResponseReturnValue:
    return redirect(relative_target(request.form.get("next") or default), 303)
