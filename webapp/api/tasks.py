"""Tasks, one at a time: list, look, submit, retry, cancel, delete, submit again."""

from __future__ import annotations

from typing import Any

from flask import g

from webapp.api.answers import Task
from webapp.api.operation import operation
from webapp.api.values import Value
from webapp.audit import record
from webapp.engine import engine
from webapp.masking import restored
from yadtq.core.yadtq_query import Query, parse_query
from yadtq.core.yadtq_task import TaskResult, TaskStatus
from yadtq.core.yadtq_views import Count, TaskPage

SEARCH = {
    "q": Value("string", "a search, such as `name:resize -queue:media after:2h`", default=""),
    "status": Value("string", "only tasks in this state", choices=tuple(map(str, TaskStatus))),
}
PAGE = {
    "limit": Value("integer", "entries of the page", default=50, least=1, most=500),
    "cursor": Value("string", "`next` or `previous` of an earlier page"),
}
OPTIONS = {
    "queue": Value("string", "which workers may take it"),
    "delay": Value("number", "seconds before it is queued"),
    "retries": Value("integer", "attempts after the first"),
    "timeout": Value("number", "seconds one attempt may run"),
    "expires": Value("number", "seconds after which it must not start any more"),
    "key": Value("string", "a repeat with the same key and name answers the first one's task"),
}


@operation(
    "POST",
    "/tasks",
    TaskResult,
    201,
    body={
        "name": Value("string", "the function's name", required=True),
        "args": Value("array", "arguments by position"),
        "kwargs": Value("object", "arguments by name"),
        "options": Value("object", "how to run it", fields=OPTIONS),
    },
    location=("api.task", "task_id"),
)
def submit(
    name: str, args: list[Any] | None, kwargs: dict[str, Any] | None, options: dict[str, Any] | None
) -> TaskResult:
    """Submit a task."""
    task_id = engine().client.options(**options or {}).submit(name, *args or [], **kwargs or {})
    record("submit", task_id, name)
    return _task(task_id)


@operation(
    "GET",
    "/tasks",
    TaskPage,
    query={
        **SEARCH,
        "order": Value("string", "which end first", default="newest", choices=("newest", "oldest")),
        **PAGE,
    },
)
def tasks(q: str, status: str | None, order: str, limit: int, cursor: str | None) -> TaskPage:
    """A page of tasks. Where it is not complete the search stopped for its limits, and `next` searches further."""
    oldest = order == "oldest"
    return engine().views.search(query_of(q, status), cursor=cursor, limit=limit, oldest_first=oldest)


@operation("GET", "/tasks/count", Count, query={**SEARCH, "cursor": Value("string", "`next` of an earlier count")})
def count(q: str, status: str | None, cursor: str | None) -> Count:
    """How many tasks a search finds, as far as one call looks; the counts of the calls with `next` add up."""
    return engine().views.count(query_of(q, status), cursor=cursor)


@operation("GET", "/tasks/<task_id>", Task)
def task(task_id: str) -> Task:
    """One task with arguments, attempts, what people did to it, and why it waits."""
    views = engine().views
    return Task.of(views.task(task_id), views.waiting_reason(task_id))


@operation("POST", "/tasks/<task_id>/retry", TaskResult)
def retry(task_id: str) -> TaskResult:
    """Run a failed, cancelled or expired task again, from its first attempt."""
    record("retry", task_id, f"now {engine().client.retry(task_id, by=g.user)}")
    return _task(task_id)


@operation("POST", "/tasks/<task_id>/cancel", TaskResult)
def cancel(task_id: str) -> TaskResult:
    """Cancel a waiting task; ask a running one to stop."""
    record("cancel", task_id, f"now {engine().client.cancel(task_id, by=g.user)}")
    return _task(task_id)


@operation("DELETE", "/tasks/<task_id>", None, 204)
def delete(task_id: str) -> None:
    """Delete a task with all that is kept of it; one that waits is cancelled first, one that runs is asked to stop."""
    engine().client.delete(task_id, by=g.user)
    record("delete", task_id)


@operation(
    "POST",
    "/tasks/<task_id>/resubmit",
    TaskResult,
    201,
    body={
        "args": Value("array", "arguments by position; left out: those of the old task"),
        "kwargs": Value("object", "arguments by name; left out: those of the old task"),
        "key": Value("string", "a repeat with the same key answers the first new task"),
    },
    location=("api.task", "task_id"),
)
def resubmit(task_id: str, args: list[Any] | None, kwargs: dict[str, Any] | None, key: str | None) -> TaskResult:
    """Submit a task again as a new one, with other arguments where given."""
    old = engine().views.task(task_id)
    args, kwargs = restored(args, old.args), restored(kwargs, old.kwargs)  # a secret that was told masked stays
    new_id = engine().client.resubmit(task_id, args, kwargs, by=g.user, key=key)
    record("resubmit", task_id, f"as {new_id}")
    return _task(new_id)


def query_of(q: str, status: str | None) -> Query:
    """The search of both parameters; raises InvalidQuery."""
    return parse_query(f"{q} status:{status}" if status else q)


def _task(task_id: str) -> TaskResult:
    return engine().client.get_result(task_id)
