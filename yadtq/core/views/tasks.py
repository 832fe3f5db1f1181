"""Tasks by id: in short, or one with everything kept of it; and how many there are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from yadtq.core.views.changes import ChangeReads
from yadtq.core.views.models import Action, Attempt, LogLine, Progress, TaskDetail
from yadtq.core.yadtq_codec import loads, parse, preview
from yadtq.core.yadtq_task import TaskResult, TaskStatus
from yadtq.errors import TaskNotFound


class TaskReads(ChangeReads):
    """Tasks."""

    def result(self, task_id: str) -> TaskResult:
        """One task; raises TaskNotFound."""
        found = self.tasks_by_id([task_id])
        if task_id not in found:
            raise TaskNotFound(f"there is no task {task_id[:140]!r}, or its result has passed its time to live")
        return found[task_id]

    def tasks_by_id(self, ids: Iterable[str], *, results: bool = True) -> dict[str, TaskResult]:
        """Those of the tasks that exist, in one round trip; without ``results``, those over 64 bytes are left out."""
        wanted = list(dict.fromkeys(ids))
        pipe = self._store.client.pipeline(transaction=False)
        for task_id in wanted:
            pipe.hgetall(self._store.key("t:", task_id))
        if results:
            for task_id in wanted:
                pipe.get(self._store.key("result:", task_id))
        answers = self._store.guard(pipe.execute) if wanted else []
        whole = answers[len(wanted) :] or [None] * len(wanted)
        return {
            task_id: _task_result(task_id, row, result)
            for task_id, row, result in zip(wanted, answers, whole, strict=False)
            if row and b"deleted" not in row
        }

    def task(self, task_id: str) -> TaskDetail:
        """One task with arguments and attempts; raises TaskNotFound."""
        result = self.result(task_id)
        pipe = self._store.client.pipeline(transaction=False)
        pipe.get(self._store.key("envelope:", task_id))
        pipe.lrange(self._store.key("history:", task_id), 0, -1)
        pipe.hmget(self._store.key("t:", task_id), "args", "token")
        pipe.hgetall(self._store.key("report:", task_id))
        envelope, history, (short, token), report = self._store.guard(pipe.execute)
        lines = [json.loads(entry) for entry in history]
        attempts = [_attempt(line) for line in lines if "action" not in line]
        actions = [_action(line) for line in lines if "action" in line]
        told = _told(report, token)
        if envelope is not None:
            task = parse(envelope.partition(b"\n")[2])
            given = {"retries": task.retries, "timeout": task.timeout}
            options = {name: value for name, value in given.items() if value is not None}
            return TaskDetail(result, list(task.args), task.kwargs, options, attempts, "redis", actions, *told)
        if short:
            args, kwargs = loads(short)
            return TaskDetail(result, args, kwargs, {}, attempts, "row", actions, *told)
        return TaskDetail(result, None, None, {}, attempts, "kafka", actions, *told)

    def failed_count(self) -> int:
        """Failed tasks kept."""
        client, key = self._store.client, self._store.key("index:", TaskStatus.FAILED.value)
        return int(self._store.guard(lambda: client.zcard(key)))

    def progress(self, ids: Iterable[str]) -> dict[str, Progress | None]:
        """How far each of the tasks said that it is; None for one that says nothing."""
        wanted = list(dict.fromkeys(ids))
        pipe = self._store.client.pipeline(transaction=False)
        for task_id in wanted:
            pipe.hget(self._store.key("t:", task_id), "token")
            pipe.hgetall(self._store.key("report:", task_id))
        answers = self._store.guard(pipe.execute) if wanted else []
        return {task_id: _told(answers[2 * n + 1], answers[2 * n])[0] for n, task_id in enumerate(wanted)}

    def counts(self) -> dict[TaskStatus, int]:
        """Tasks by status: waiting and running ones as they are, failed ones kept, the other ended ones since the start."""
        live = [TaskStatus.SCHEDULED, TaskStatus.QUEUED, TaskStatus.PROCESSING, TaskStatus.RETRYING, TaskStatus.FAILED]
        pipe = self._store.client.pipeline(transaction=False)
        for status in live:
            pipe.zcard(self._store.key("index:", status.value))
        pipe.hgetall(self._store.key("totals"))
        *sizes, totals = self._store.guard(pipe.execute)
        found = dict(zip(live, sizes, strict=True))
        for status in (TaskStatus.SUCCESS, TaskStatus.CANCELLED, TaskStatus.EXPIRED):
            found[status] = int(totals.get(status.value.encode(), 0))
        return {status: found[status] for status in TaskStatus}

    def totals(self) -> dict[str, int]:
        """Counters since the start: ended tasks by status, fenced outcomes, rebuilt rows, rejected records."""
        raw = self._store.guard(lambda: self._store.client.hgetall(self._store.key("totals")))
        return {name.decode(): int(value) for name, value in raw.items()}

    def outbox_size(self) -> int:
        """Tasks that Kafka has not acknowledged yet."""
        return int(self._store.guard(lambda: self._store.client.zcard(self._store.key("outbox"))))

    def outbox_age(self) -> float:
        """Seconds that the task whose turn it is next in the outbox has been there at least; 0 where it is empty.

        That one was sent the longest ago, so Kafka has taken nothing for that long, or its sender is gone.
        """
        key = self._store.key
        pipe = self._store.client.pipeline(transaction=False)
        pipe.time()
        pipe.zrange(key("outbox"), 0, 0)
        (seconds, micros), first = self._store.guard(pipe.execute)
        if not first:
            return 0.0
        changed = self._store.guard(lambda: self._store.client.hget(key("t:", first[0].decode()), "changed"))
        return max(0.0, seconds + micros / 1e6 - int(changed) / 1000) if changed else 0.0

    def is_full(self) -> bool:
        """Whether Redis has reached its maxmemory, and so refuses new tasks."""
        return self._store.is_full()


def _task_result(task_id: str, row: dict[bytes, bytes], whole: bytes | None) -> TaskResult:
    def text(name: bytes) -> str | None:
        value = row.get(name)
        return None if value is None else value.decode(errors="replace")

    def number(name: bytes, default: int = 0) -> int:
        return int(row.get(name, default))

    def seconds(name: bytes) -> float | None:
        value = row.get(name)
        return None if value is None else int(value) / 1000

    status = TaskStatus(row[b"status"].decode())
    encoded = row.get(b"result") or whole
    short = row.get(b"args")
    started, changed = seconds(b"started"), seconds(b"changed")
    return TaskResult(
        id=task_id,
        name=text(b"name") or "",
        queue=text(b"queue") or "",
        status=status,
        result=loads(encoded) if encoded and status is TaskStatus.SUCCESS else None,
        reason=text(b"reason"),
        error=text(b"error"),
        attempts=number(b"attempt"),
        lost=number(b"lost"),
        worker=text(b"worker"),
        args_preview=preview(*loads(short)) if short else text(b"preview") or "",
        cancel_requested=b"cancel" in row,
        submitted_at=seconds(b"submitted"),
        started_at=started,
        finished_at=changed if status.terminal else None,
        changed_at=started if status is TaskStatus.PROCESSING else changed,
        due_at=seconds(b"due"),
        expires_at=seconds(b"expires"),
        partition=number(b"part") if b"part" in row else None,
        offset=number(b"offset") if b"offset" in row else None,
        gen=number(b"gen", 1),
        seq=number(b"seq"),
        fingerprint=text(b"fp"),
    )


def _attempt(entry: dict[str, Any]) -> Attempt:
    def seconds(name: str) -> float | None:
        return entry[name] / 1000 if entry.get(name) else None

    return Attempt(
        attempt=entry.get("attempt", 0),
        worker=entry.get("worker", ""),
        started_at=seconds("started"),
        finished_at=seconds("finished"),
        outcome=entry.get("outcome", ""),
        error=entry.get("error", ""),
        traceback=entry.get("traceback", ""),
    )


def _action(entry: dict[str, Any]) -> Action:
    return Action(entry["action"], entry.get("by", ""), entry["at"] / 1000, entry.get("task"))


def _told(report: dict[bytes, bytes], token: bytes | None) -> tuple[Progress | None, list[LogLine], int]:
    """Progress, log lines, and how many older lines are gone, of what the last two runs told."""
    runs = [json.loads(report[name]) for name in (b"before", b"now") if name in report]
    lines = [LogLine(at, level, text, run["attempt"]) for run in runs for at, level, text in run["lines"]]
    cut = sum(run["said"] - len(run["lines"]) for run in runs)
    last = runs[-1]["progress"] if runs and report[b"token"] == token else None
    if last is None:
        return None, lines, cut
    at, done, total, note = last
    return Progress(done, total, note, at), lines, cut
