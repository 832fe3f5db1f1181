"""``yadtq task``, ``tasks`` and ``workers``: what Redis holds, as tables or JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from yadtq import TaskResult, TaskStatus, create_yadtq
from yadtq.commands import output
from yadtq.commands.servers import Servers, json_option, server_options
from yadtq.core.yadtq_views import Attempt, LogLine, Progress, TaskDetail, Views, WorkerInfo

LOG_LINES = 20  # of a task's, the newest; --json gives all


@click.command("tasks")
@click.option("--status", type=click.Choice([status.value for status in TaskStatus]), help="Only tasks in this state.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Tasks on a page.")
@click.option("--oldest", is_flag=True, help="Oldest first.")
@click.option("--page", metavar="CURSOR", help="The page that the last one's `next` names.")
@json_option
@server_options
def show_tasks(servers: Servers, status: str | None, limit: int, oldest: bool, page: str | None, as_json: bool) -> None:
    """List tasks, newest first."""
    views = Views(create_yadtq(**servers.explicit)[1])
    wanted = TaskStatus(status) if status else None
    found = views.tasks(wanted, cursor=page, limit=limit, oldest_first=oldest)
    if as_json:
        output.print_json({"tasks": [task.to_dict() for task in found.items], "next": found.next})
        return
    console, now = output.console(), views.server_time()
    table = output.table("id", "task", "status", "queue", "attempts#", "changed#", "result or error")
    for task in found.items:
        table.add_row(
            output.plain(task.id),
            output.plain(f"{task.name}({task.args_preview})"),
            output.status(task.status),
            output.plain(task.queue),
            str(task.attempts),
            output.ago(task.changed_at, now),
            _ending(task),
        )
    console.print(table if found.items else "no tasks")
    if found.next:
        console.print(Text(f"more: --page {output.clean(found.next)}", style="dim"))


@click.command("task")
@click.argument("task_id", metavar="ID")
@json_option
@server_options
def show_task(servers: Servers, task_id: str, as_json: bool) -> None:
    """Show one task: its state, arguments, result and attempts."""
    views = Views(create_yadtq(**servers.explicit)[1])
    detail = views.task(task_id)
    if as_json:
        output.print_json(_detail_dict(detail))
        return
    output.console().print(_detail_view(detail))


@click.command("workers")
@json_option
@server_options
def show_workers(servers: Servers, as_json: bool) -> None:
    """List workers, online ones first, with the age of their last beat."""
    workers = Views(create_yadtq(**servers.explicit)[1]).workers()
    if as_json:
        output.print_json({"workers": [dataclasses.asdict(worker) for worker in workers]})
        return
    table = output.table("id", "name", "status", "beat#", "running#", "slots#", "done#", "failed#", "queues")
    for worker in workers:
        table.add_row(
            output.plain(worker.id),
            output.plain(worker.name),
            _worker_status(worker),
            f"{output.span(worker.age)} ago",
            str(len(worker.running)) if worker.online else f"– ({len(worker.running)} then)",
            f"{worker.concurrency} ({worker.stuck} hung)" if worker.stuck else str(worker.concurrency),
            str(worker.done),
            str(worker.failed),
            output.plain(", ".join(worker.queues)),
        )
    output.console().print(table if workers else "no workers; start one with `yadtq worker MODULE`")


def _worker_status(worker: WorkerInfo) -> Text:
    if worker.stopping and worker.online:
        return Text("stopping", style="yellow")
    if worker.paused and worker.online:
        return Text("paused", style="yellow")
    return Text("online", style="green") if worker.online else Text("offline", style="red")


def _ending(task: TaskResult) -> Text:
    """What came of it, in one line."""
    if task.status is TaskStatus.SUCCESS:
        return output.plain(json.dumps(task.result, ensure_ascii=False, default=str))
    return output.plain(task.error or "", "red")


def _detail_dict(detail: TaskDetail) -> dict[str, Any]:
    return {
        **detail.result.to_dict(),
        "args": detail.args,
        "kwargs": detail.kwargs,
        "options": detail.options,
        "history": [dataclasses.asdict(attempt) for attempt in detail.history],
        "progress": dataclasses.asdict(detail.progress) if detail.progress else None,
        "log": [dataclasses.asdict(line) for line in detail.log],
    }


def _detail_view(detail: TaskDetail) -> RenderableType:
    task = detail.result
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    for name, value in _facts(detail).items():
        facts.add_row(name, value if isinstance(value, Text) else output.plain(value))
    parts: list[RenderableType] = [
        Text.assemble(output.plain(task.name, "bold"), "  ", output.status(task.status)),
        facts,
    ]
    if detail.history:
        parts.append(_attempts(detail.history))
    traceback = next((attempt.traceback for attempt in reversed(detail.history) if attempt.traceback), "")
    if traceback and task.status is not TaskStatus.SUCCESS:
        parts.append(Padding(Text(output.clean(traceback).rstrip(), style="dim"), (1, 0, 0, 0)))
    if detail.log:
        parts.append(Padding(Text("\n".join(_line(line) for line in detail.log[-LOG_LINES:])), (1, 0, 0, 0)))
    return Group(*parts)


def _line(line: LogLine) -> str:
    return f"{output.clock(line.at)} {line.level.lower():<8} {output.clean(line.text)}"


def _facts(detail: TaskDetail) -> dict[str, Any]:
    """The lines of a task's page that have something to say."""
    task = detail.result
    arguments = [json.dumps(value, ensure_ascii=False, default=str) for value in detail.args or ()]
    arguments += [
        f"{name}={json.dumps(value, ensure_ascii=False, default=str)}" for name, value in (detail.kwargs or {}).items()
    ]
    where = f"partition {task.partition}, offset {task.offset}" if task.partition is not None else ""
    times = {
        "submitted": task.submitted_at,
        "due": task.due_at,
        "started": task.started_at,
        "finished": task.finished_at,
        "expires": task.expires_at,
    }
    facts: dict[str, Any] = {
        "id": task.id,
        "arguments": ", ".join(arguments) or task.args_preview,
        "result" if task.ok else "error": _ending(_with_whole_error(detail)),
        "reason": task.reason,
        "queue": task.queue,
        "worker": task.worker,
        "attempts": task.attempts,
        "progress": _progress(detail.progress),
        "lost workers": task.lost,
        "in Kafka": where,
        **{name: output.clock(moment) for name, moment in times.items() if moment is not None},
        "cancel": "asked for" if task.cancel_requested and not task.done else "",
    }
    return {name: value for name, value in facts.items() if value}


def _progress(progress: Progress | None) -> str:
    if progress is None:
        return ""
    whole = f" of {progress.total:,}" if progress.total else ""
    share = f", {progress.share:.0%}" if progress.share is not None else ""
    return f"{progress.done:,}{whole}{share}{'; ' + progress.note if progress.note else ''}"


def _with_whole_error(detail: TaskDetail) -> TaskResult:
    """The task with its last error uncut, where its history has it: a row keeps only the beginning."""
    task = detail.result
    whole = detail.history[-1].error if detail.history else ""
    cut = (task.error or "").removesuffix("…")
    return dataclasses.replace(task, error=whole) if cut and whole.startswith(cut) else task


def _attempts(history: list[Attempt]) -> Table:
    table = output.table("attempt#", "worker", "outcome", "took#", "error")
    for attempt in history:
        began, ended = attempt.started_at, attempt.finished_at
        took = "–" if began is None or ended is None else output.span(ended - began)
        table.add_row(
            str(attempt.attempt),
            output.plain(attempt.worker),
            output.plain(attempt.outcome),
            took,
            output.plain(attempt.error, "red"),
        )
    return table
