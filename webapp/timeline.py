"""One task's life as a list of moments, made of its times and its finished attempts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yadtq.core.yadtq_task import TaskStatus

if TYPE_CHECKING:
    from yadtq.core.yadtq_task import TaskResult
    from yadtq.core.yadtq_views import Action, Attempt, TaskDetail

# An attempt's outcome: its colour and icon, and how it reads.
_OUTCOMES = {
    "retry": ("failed", "failed"),
    "failed": ("failed", "failed"),
    "lost": ("failed", "lost its worker"),
    "handback": ("queued", "handed on"),
    "cancelled": ("cancelled", "stopped on request"),
}
_ENDS = {
    TaskStatus.SUCCESS: "Succeeded",
    TaskStatus.FAILED: "Failed",
    TaskStatus.CANCELLED: "Cancelled",
    TaskStatus.EXPIRED: "Expired before it could start",
}
# What a person did: its colour and icon, and how it reads.
_ACTIONS = {
    "retry": ("queued", "Retried, from its first attempt"),
    "cancel": ("cancelled", "Cancel asked for"),
    "resubmit": ("scheduled", "Submitted again as a new task"),
    "resubmitted": ("scheduled", "Made from another task"),
}


@dataclass(frozen=True)
class Moment:
    """One line of the timeline."""

    at: float
    st: str  # state: colour and icon
    title: str
    worker: str | None = None
    error: str = ""
    traceback: str = ""
    ran: float | None = None  # seconds, of a finished attempt
    since: float | None = None  # running or waiting from then on
    future: bool = False
    by: str | None = None  # who did it; empty where that was a program
    task: str | None = None  # the other task it is about
    place: str = ""  # where its record is


def timeline(detail: TaskDetail, *, begun: bool = True) -> list[Moment]:
    """The moments in order, what is still to come last; a task not ``begun`` is claimed and has no slot yet."""
    task = detail.result
    moments = [_submitted(task), *(_attempt(past) for past in detail.history)]
    moments += [_action(done) for done in detail.actions]
    told = max((past.finished_at or 0.0 for past in detail.history), default=0.0)
    present = task.started_at is not None and task.started_at > told
    if present:
        moments.append(_present_attempt(task, begun=begun))
    if task.done and not (present and task.status is TaskStatus.SUCCESS):
        moments.append(_end(task, "" if detail.history else task.error or ""))
    moments += _waiting(task)
    return sorted(moments, key=lambda moment: (moment.future, moment.at))


def _action(done: Action) -> Moment:
    st, title = _ACTIONS.get(done.action, ("queued", done.action.capitalize()))
    return Moment(done.at, st, title, by=done.by, task=done.task)


def _submitted(task: TaskResult) -> Moment:
    sent = task.gen == 1 and task.partition is not None and task.offset is not None
    place = f"to {task.queue}, partition {task.partition}, offset {task.offset:,}" if sent else f"to {task.queue}"
    return Moment(task.submitted_at or 0.0, "queued", "Submitted", place=place)


def _attempt(past: Attempt) -> Moment:
    st, words = _OUTCOMES.get(past.outcome, ("cancelled", past.outcome))
    started, finished = past.started_at, past.finished_at
    ran = finished - started if started is not None and finished is not None else None
    title = f"Attempt {past.attempt} {words}"
    return Moment(started or finished or 0.0, st, title, past.worker, past.error, past.traceback, ran)


def _present_attempt(task: TaskResult, *, begun: bool) -> Moment:
    started = task.started_at or 0.0
    title = f"Attempt {task.attempts}"
    if task.status is TaskStatus.PROCESSING:
        doing = "running" if begun else "claimed, waits there for a slot"
        return Moment(started, "processing", f"{title} {doing}", task.worker, since=started)
    ran = None if task.finished_at is None else task.finished_at - started
    if task.status is TaskStatus.SUCCESS:
        return Moment(started, "success", f"{title} succeeded", task.worker, ran=ran)
    return Moment(started, "processing", f"{title} started", task.worker, ran=ran)


def _end(task: TaskResult, error: str) -> Moment:
    title = _ENDS[task.status]
    if task.reason and task.reason != "error":
        title = f"{title}: {task.reason.replace('_', ' ')}"
    return Moment(task.finished_at or task.changed_at or 0.0, str(task.status), title, error=error)


def _waiting(task: TaskResult) -> list[Moment]:
    changed = task.changed_at or 0.0
    if task.status is TaskStatus.QUEUED:
        title = "Waits for a worker" if task.started_at is None and not task.lost else "Queued again"
        return [Moment(changed, "queued", title, since=changed)]
    if task.due_at is None or task.status not in (TaskStatus.SCHEDULED, TaskStatus.RETRYING):
        return []
    title = "Starts" if task.status is TaskStatus.SCHEDULED else f"Attempt {task.attempts + 1}"
    return [Moment(task.due_at, str(task.status), title, future=True)]
