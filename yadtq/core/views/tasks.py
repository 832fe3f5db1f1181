"""One task for a client or a page, pages of many, and how many there are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from yadtq.core.views.changes import ChangeReads
from yadtq.core.views.models import Attempt, TaskDetail, TaskPage
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

    def tasks_by_id(self, ids: Iterable[str]) -> dict[str, TaskResult]:
        """Those of the tasks that exist, in one round trip."""
        wanted = list(dict.fromkeys(ids))
        pipe = self._store.client.pipeline(transaction=False)
        for task_id in wanted:
            pipe.hgetall(self._store.key("t:", task_id))
            pipe.get(self._store.key("result:", task_id))
        answers = self._store.guard(pipe.execute) if wanted else []
        return {
            task_id: _task_result(task_id, answers[2 * n], answers[2 * n + 1])
            for n, task_id in enumerate(wanted)
            if answers[2 * n]
        }

    def task(self, task_id: str) -> TaskDetail:
        """One task with arguments and attempts; raises TaskNotFound."""
        result = self.result(task_id)
        pipe = self._store.client.pipeline(transaction=False)
        pipe.get(self._store.key("envelope:", task_id))
        pipe.lrange(self._store.key("history:", task_id), 0, -1)
        pipe.hget(self._store.key("t:", task_id), "args")
        envelope, history, short = self._store.guard(pipe.execute)
        attempts = [_attempt(json.loads(entry)) for entry in history]
        if envelope is not None:
            task = parse(envelope.partition(b"\n")[2])
            given = {"retries": task.retries, "timeout": task.timeout}
            options = {name: value for name, value in given.items() if value is not None}
            return TaskDetail(result, list(task.args), task.kwargs, options, attempts, "redis")
        if short:
            args, kwargs = loads(short)
            return TaskDetail(result, args, kwargs, {}, attempts, "row")
        return TaskDetail(result, None, None, {}, attempts, "kafka")

    def tasks(
        self,
        status: TaskStatus | None = None,
        *,
        cursor: str | None = None,
        limit: int = 50,
        oldest_first: bool = False,
    ) -> TaskPage:
        """One page: of a status by when the tasks entered it, of all by when they were submitted; newest first.

        ``cursor`` is ``<`` or ``>`` (after or before, in the list's order) with a score and an id, as given by an earlier page.
        """
        key = self._store.key("index:", status.value if status else "all")
        mark = self.change_mark()
        backwards = cursor is not None and cursor.startswith(">")
        entries, more = self._page_of(key, cursor, limit, descending=oldest_first == backwards)
        if backwards:
            entries.reverse()
        found = self.tasks_by_id(task_id for task_id, _ in entries)
        items = [found[task_id] for task_id, _ in entries if task_id in found]
        has_next = bool(entries) and (backwards or more)
        has_previous = bool(entries) and (more if backwards else cursor is not None)
        return TaskPage(
            items=items,
            next=_cursor("<", entries[-1]) if has_next else None,
            previous=_cursor(">", entries[0]) if has_previous else None,
            epoch=mark.epoch,
            seq=mark.seq,
        )

    def _page_of(
        self, key: str, cursor: str | None, limit: int, *, descending: bool
    ) -> tuple[list[tuple[str, int]], bool]:
        """Up to ``limit`` (id, score) entries after the cursor in the direction walked, and whether more follow."""
        score, last_id = _parse_cursor(cursor)
        first, last = ("+inf", "-inf") if descending else ("-inf", "+inf")
        found: list[tuple[str, int]] = []
        offset, chunk, more = 0, limit + 1, True
        while more and len(found) <= limit:
            rows = self._read_index(key, first if score is None else score, last, descending, offset, chunk)
            for raw, value in rows:
                entry = (raw.decode(), int(value))
                # Entries with the cursor's own score may have been shown: they are told apart by id.
                shown = (
                    last_id is not None
                    and entry[1] == score
                    and (entry[0] >= last_id if descending else entry[0] <= last_id)
                )
                if not shown:
                    found.append(entry)
            offset, more = offset + len(rows), len(rows) == chunk
        return found[:limit], len(found) > limit

    def _read_index(
        self, key: str, first: Any, last: Any, descending: bool, offset: int, count: int
    ) -> list[tuple[bytes, float]]:
        def call() -> list[tuple[bytes, float]]:
            return list(
                self._store.client.zrange(
                    key, first, last, desc=descending, byscore=True, offset=offset, num=count, withscores=True
                )
            )

        return self._store.guard(call)

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


def _cursor(direction: str, entry: tuple[str, int]) -> str:
    return f"{direction}{entry[1]}:{entry[0]}"


def _parse_cursor(cursor: str | None) -> tuple[Any, str | None]:
    """Score and id of a cursor; a broken one starts at the first page."""
    if cursor is None:
        return None, None
    score, _, task_id = cursor[1:].partition(":")
    return (int(score), task_id) if score.isdigit() and task_id else (None, None)
