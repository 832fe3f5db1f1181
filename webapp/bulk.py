"""Many tasks at once: what would be done, doing it, and how far it is."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for

from webapp.access import relative_target
from webapp.engine import engine
from webapp.errors import sentence
from webapp.jobs import begin_job, end_job
from webapp.wording import number
from yadtq.api.yadtq_bulk import ACTIONS
from yadtq.core.yadtq_query import parse_query
from yadtq.core.yadtq_task import CANCELLABLE, RETRYABLE, TaskStatus
from yadtq.errors import InvalidQuery

if TYPE_CHECKING:
    from flask import Flask
    from flask.typing import ResponseReturnValue

    from yadtq.api.yadtq_bulk import BulkJob

pages = Blueprint("bulk", __name__, url_prefix="/bulk")

_COUNTING = 0.4  # seconds a dry run may take before it says "at least"
_AT_ONCE = 5.0  # seconds a form of ticked tasks is waited for
_KEY_LENGTH = 16  # a form's key is at least so long, or it would not be one form's alone
_AIMS = {"retry": RETRYABLE, "cancel": CANCELLABLE, "delete": set(TaskStatus) - {TaskStatus.PROCESSING}}
_DONE = {"retry": "queued", "cancel": "cancelled or asked to stop", "delete": "deleted"}


@dataclass(frozen=True)
class DryRun:
    """What an action would touch."""

    action: str
    text: str  # the search for those that it can touch
    matching: int
    looked_at: int
    total: int  # to be looked at in all
    complete: bool


def init_app(app: Flask) -> None:
    """Have the jobs go on that another process has left, from this one's first request on."""
    app.before_request(_drive)
    app.jinja_env.globals["new_form_key"] = lambda: uuid.uuid4().hex


def _drive() -> None:
    if not engine().settings.read_only:
        engine().bulk.ensure()


@pages.get("")
def confirm() -> ResponseReturnValue:
    """What each action, or the one asked for, would do to all tasks that match."""
    asked, text = request.args.get("action", ""), request.args.get("q", "").strip()
    if asked and asked not in ACTIONS:
        abort(400, f"There is no action {asked[:40]!r}; there are {', '.join(ACTIONS)}.")
    try:
        runs = [dry_run(text, action) for action in ([asked] if asked else ACTIONS)]
    except InvalidQuery as refusal:
        abort(400, sentence(refusal))
    wanted = parse_query(text).group
    group = engine().views.failure_group(wanted) if wanted else None
    return render_template("bulk.html", runs=runs, asked=asked, text=text, group=group)


@pages.post("")
def start() -> ResponseReturnValue:
    """Start what was confirmed; a form that needs to be asked first is asked first."""
    action, ids = request.form.get("action", ""), list(dict.fromkeys(request.form.getlist("id")))
    if request.form.get("all"):
        return redirect(url_for("bulk.confirm", action=action, q=request.form.get("q", "")), 303)
    sure = bool(request.form.get("sure")) or (bool(ids) and action == "retry")
    if not sure:
        return _ask(action, ids)
    job = _start(action, ids)
    return _told(_awaited(job)) if ids else redirect(url_for("bulk.show", job_id=job.id), 303)


@pages.get("/<job_id>")
def show(job_id: str) -> ResponseReturnValue:
    """How far a job is."""
    job = engine().jobs().get(job_id)
    became = engine().views.came_of(job_id) if job.action == "retry" else {}
    return render_template("job.html", job=job, done=_DONE, became=became)


@pages.post("/<job_id>/stop")
def stop(job_id: str) -> ResponseReturnValue:
    """End a job before its next step; what is done stays done."""
    end_job(job_id)
    return redirect(url_for("bulk.show", job_id=job_id), 303)


def dry_run(text: str, action: str) -> DryRun:
    """Counts, for a moment, those among the tasks that match which the action can touch. Raises InvalidQuery."""
    aimed = _aimed(text, action)
    query, reads = parse_query(aimed), engine().views
    deadline = time.monotonic() + _COUNTING
    count = reads.count(query)
    matching, looked_at, total = count.matching, count.scanned, count.total
    while count.next and time.monotonic() < deadline:
        count = reads.count(query, cursor=count.next)
        matching, looked_at = matching + count.matching, looked_at + count.scanned
    return DryRun(action, aimed, matching, looked_at, total, count.next is None)


def _aimed(text: str, action: str) -> str:
    """The search narrowed to the states that the action can touch."""
    query = parse_query(text)
    aims = [str(status) for status in TaskStatus if status in _AIMS[action]]
    wanted = [status for status in aims if status in query.statuses] if query.statuses else aims
    if (wanted and set(wanted) == set(query.statuses)) or (query.group and "failed" in aims):
        return text
    return f"{text} status:{','.join(wanted or aims)}".strip()


def _ask(action: str, ids: list[str]) -> str:
    """The page that asks before ticked tasks are cancelled or deleted."""
    if action not in ACTIONS:
        abort(400, f"There is no action {action[:40]!r}; there are {', '.join(ACTIONS)}.")
    if not ids:
        abort(400, "No task is ticked: tick some, or act on all that match.")
    found = engine().views.tasks_by_id(ids)
    ready = [task for task in found.values() if task.status in _AIMS[action]]
    back = relative_target(request.form.get("next") or url_for("tasks.index"))
    return render_template("bulk_ticked.html", action=action, ids=ids, ready=ready, back=back)


def _start(action: str, ids: list[str]) -> BulkJob:
    text, key = "" if ids else request.form.get("q", ""), request.form.get("form_key", "")
    if len(key) < _KEY_LENGTH:
        abort(400, "The form is incomplete: go back, reload the page and send it again.")
    try:
        return begin_job(text, action, key, ids or None)
    except InvalidQuery as refusal:
        abort(400, sentence(refusal))


def _awaited(job: BulkJob) -> BulkJob:
    """The job of ticked tasks once it is done: two hundred take a few milliseconds."""
    deadline = time.monotonic() + _AT_ONCE
    while not job.finished and time.monotonic() < deadline:
        stepped = engine().jobs().step(job.id)
        if stepped == job:
            time.sleep(0.02)  # another request or thread does it
        job = stepped
    return job


def _told(job: BulkJob) -> ResponseReturnValue:
    if not job.finished:
        return redirect(url_for("bulk.show", job_id=job.id), 303)
    words = f"{number(job.done)} of {number(job.total)} {'task' if job.total == 1 else 'tasks'} {_DONE[job.action]}."
    if job.failed:
        words += f" {number(job.failed)} left alone: {job.refusal}."
    flash(words, "success" if job.done else "failed")
    return redirect(relative_target(request.form.get("next") or url_for("tasks.index")), 303)
