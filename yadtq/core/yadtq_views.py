"""All reads: one task for a client, lists and figures for pages and the command line. Each is one round trip or few."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from yadtq.core.yadtq_codec import loads, parse, preview
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_task import TaskResult, TaskStatus
from yadtq.errors import TaskNotFound


@dataclass(frozen=True)
class Attempt:
    """One run that did not end in success."""

    attempt: int
    worker: str
    started_at: float | None
    finished_at: float | None
    outcome: str  # retry, failed, handback, cancelled, lost
    error: str
    traceback: str


@dataclass(frozen=True)
class TaskDetail:
    """Everything kept of one task."""

    result: TaskResult
    args: list[Any] | None  # None where only a preview is left
    kwargs: dict[str, Any] | None
    options: dict[str, Any]
    history: list[Attempt]
    envelope_at: str  # redis, row (short arguments of an ended task) or kafka


@dataclass(frozen=True)
class TaskPage:
    """One page of a list; cursors go into the URL."""

    items: list[TaskResult]
    next: str | None
    previous: str | None
    epoch: str
    seq: int


@dataclass(frozen=True)
class ParamInfo:
    """One parameter of an announced function."""

    name: str
    kind: str  # positional, keyword, args, kwargs
    annotation: str
    required: bool
    default: Any = None


@dataclass(frozen=True)
class FunctionInfo:
    """A function that workers announce."""

    name: str
    doc: str
    queues: list[str]
    params: list[ParamInfo]


@dataclass(frozen=True)
class WorkerInfo:
    """One incarnation of a worker, from its last beat."""

    id: str
    name: str
    host: str
    pid: int
    version: str
    queues: list[str]
    partitions: dict[str, list[int]]
    concurrency: int
    running: list[str]
    started_at: float
    beat_at: float
    age: float  # seconds since the last beat, by Redis' clock
    online: bool
    stopping: bool
    stopped: bool  # it took leave
    done: int
    failed: int
    functions: list[FunctionInfo] = field(default_factory=list)


@dataclass(frozen=True)
class QueueInfo:
    """One queue's load."""

    name: str
    queued: int
    processing: int


@dataclass(frozen=True)
class MinuteStats:
    """What ended in one minute."""

    minute: int  # its start, seconds since the epoch
    success: int
    failed: int
    retried: int


@dataclass(frozen=True)
class Mark:
    """A point in the stream of changes."""

    epoch: str
    seq: int


@dataclass(frozen=True)
class Changes:
    """What changed since a mark; not complete when the mark is too old."""

    epoch: str
    seq: int
    complete: bool
    tasks: set[str]
    workers: set[str]
    queues: set[str]


class Views:
    """Reads of one store; each raises ResultStoreUnavailable."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store

    # -- tasks -------------------------------------------------------------------------------------

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
        """Counters since the start: ended tasks by status, fenced outcomes, rebuilt rows."""
        raw = self._store.guard(lambda: self._store.client.hgetall(self._store.key("totals")))
        return {name.decode(): int(value) for name, value in raw.items()}

    def outbox_size(self) -> int:
        """Tasks that Kafka has not acknowledged yet."""
        return int(self._store.guard(lambda: self._store.client.zcard(self._store.key("outbox"))))

    def queues(self) -> list[QueueInfo]:
        """Every queue that has held a task or has a worker."""
        pipe = self._store.client.pipeline(transaction=False)
        pipe.hgetall(self._store.key("backlog"))
        pipe.hgetall(self._store.key("busy"))
        backlog, busy = ({name.decode(): int(n) for name, n in raw.items()} for raw in self._store.guard(pipe.execute))
        names = sorted({*backlog, *busy, *(queue for worker in self.workers() for queue in worker.queues)})
        return [QueueInfo(name, max(0, backlog.get(name, 0)), max(0, busy.get(name, 0))) for name in names]

    def throughput(self, minutes: int = 60) -> list[MinuteStats]:
        """What ended in each of the last minutes, oldest first."""
        last = int(self._store.time_ms() / 60_000) * 60
        starts = range(last - 60 * (minutes - 1), last + 1, 60)
        pipe = self._store.client.pipeline(transaction=False)
        for start in starts:
            pipe.hmget(self._store.key("minute:", str(start)), "success", "failed", "retried")
        rows = self._store.guard(pipe.execute)
        return [
            MinuteStats(start, *(int(value or 0) for value in row)) for start, row in zip(starts, rows, strict=True)
        ]

    # -- workers -----------------------------------------------------------------------------------

    def workers(self) -> list[WorkerInfo]:
        """Workers that beat in the last hour, online ones first."""
        key = self._store.key
        pipe = self._store.client.pipeline(transaction=False)
        pipe.zrange(key("workers"), 0, -1)
        pipe.zrevrange(key("dead"), 0, 199)
        pipe.zrevrange(key("left"), 0, 199)
        ids = [raw.decode() for raws in self._store.guard(pipe.execute) for raw in raws]
        found = self._read_workers(list(dict.fromkeys(ids)))
        return sorted(found, key=lambda worker: (not worker.online, worker.name, -worker.started_at))

    def worker(self, worker_id: str) -> WorkerInfo | None:
        """One incarnation, or None."""
        return next(iter(self._read_workers([worker_id])), None)

    def _read_workers(self, ids: Sequence[str]) -> list[WorkerInfo]:
        pipe = self._store.client.pipeline(transaction=False)
        pipe.time()
        for worker_id in ids:
            pipe.hgetall(self._store.key("worker:", worker_id))
            pipe.zscore(self._store.key("workers"), worker_id)
        (seconds, micros), *rows = self._store.guard(pipe.execute)
        now = seconds + micros / 1e6
        return [
            self._worker_info(worker_id, rows[2 * n], rows[2 * n + 1], now)
            for n, worker_id in enumerate(ids)
            if b"about" in rows[2 * n]
        ]

    def _worker_info(self, worker_id: str, row: dict[bytes, bytes], score: float | None, now: float) -> WorkerInfo:
        about, state = json.loads(row[b"about"]), json.loads(row.get(b"state", b"{}"))
        beat_at = int(row[b"beat"]) / 1000
        age = max(0.0, now - beat_at)
        return WorkerInfo(
            id=worker_id,
            name=about["name"],
            host=about["host"],
            pid=about["pid"],
            version=about["version"],
            queues=list(about["queues"]),
            partitions=state.get("partitions", {}),
            concurrency=about["concurrency"],
            running=state.get("running", []),
            started_at=about["started"],
            beat_at=beat_at,
            age=age,
            online=score is not None and age <= self._store.offline_after,
            stopping=bool(state.get("stopping")),
            stopped=b"stopped" in row,
            done=state.get("done", 0),
            failed=state.get("failed", 0),
            functions=[_function(entry, list(about["queues"])) for entry in about["functions"]],
        )

    def functions(self) -> list[FunctionInfo]:
        """What the live workers announce, by name; queues joined."""
        merged: dict[str, FunctionInfo] = {}
        for worker in self.workers():
            for function in worker.functions if worker.online else ():
                known = merged.get(function.name)
                queues = sorted({*function.queues, *(known.queues if known else ())})
                merged[function.name] = FunctionInfo(function.name, function.doc, queues, function.params)
        return [merged[name] for name in sorted(merged)]

    # -- changes -----------------------------------------------------------------------------------

    def server_time(self) -> float:
        """Redis' clock in seconds."""
        return self._store.time_ms() / 1000

    def change_mark(self) -> Mark:
        """Where the stream of changes is now."""
        epoch, seq = self._store.guard(
            lambda: self._store.client.mget(self._store.key("epoch"), self._store.key("seq"))
        )
        return Mark(epoch.decode() if epoch else "", int(seq or 0))

    def changes(self, since: int, limit: int = 2000) -> Changes:
        """What changed after change number ``since``."""
        upd = self._store.key("upd")
        pipe = self._store.client.pipeline(transaction=True)
        pipe.mget(self._store.key("epoch"), self._store.key("seq"))
        pipe.zrange(upd, 0, 0, withscores=True)
        pipe.zcard(upd)
        pipe.zrangebyscore(upd, f"({since}", "+inf", start=0, num=limit + 1, withscores=True)
        (epoch, seq), oldest, size, rows = self._store.guard(pipe.execute)
        now = int(seq or 0)
        # A full list may have dropped changes older than its oldest entry.
        cut_off = size >= 10_000 and oldest and oldest[0][1] > since + 1
        complete = not cut_off and len(rows) <= limit and since <= now
        members = [raw.decode().partition(":")[::2] for raw, _ in rows]
        by_kind = {kind: {name for k, name in members if k == kind} for kind in ("t", "w", "q")}
        return Changes(epoch.decode() if epoch else "", now, bool(complete), by_kind["t"], by_kind["w"], by_kind["q"])

    def watch_changes(self) -> Watcher:
        """Woken by Redis' keyspace notification whenever anything changes."""
        db = self._store.client.connection_pool.connection_kwargs.get("db") or 0
        return Watcher(self._store, f"__keyspace@{db}__:{self._store.key('upd')}")

    def watch_task(self, task_id: str) -> Watcher:
        """Woken when this task ends."""
        return Watcher(self._store, self._store.key("done:", task_id))

    def notifications_enabled(self) -> bool | None:
        """Whether Redis sends the notifications that wake the live pages; None where it does not tell."""
        try:
            flags = str(self._store.client.config_get("notify-keyspace-events").get("notify-keyspace-events", ""))
        except Exception as error:  # managed servers refuse CONFIG in many ways
            if "CONFIG" in str(error).upper() or "NOPERM" in str(error):
                return None
            raise self._store.unavailable(error) from error
        return "K" in flags and ("z" in flags or "A" in flags)


class Watcher:
    """One subscription. A message is only a wake-up: what happened is read elsewhere, so a lost one costs time, never truth."""

    def __init__(self, store: ResultStore, channel: str) -> None:
        self._store = store
        self._pubsub = store.client.pubsub()
        store.guard(lambda: self._pubsub.subscribe(channel))

    def wait(self, timeout: float) -> bool:
        """True when woken, also by each (re)subscription, since messages may have been missed before it; False after ``timeout`` seconds.

        Raises:
            ResultStoreUnavailable: the connection is lost; the next wait subscribes again.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if self._store.guard(partial(self._pubsub.get_message, timeout=left)) is not None:
                return True
        return False

    def close(self) -> None:
        self._pubsub.close()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


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


def _function(entry: dict[str, Any], queues: list[str]) -> FunctionInfo:
    params = [
        ParamInfo(p["name"], p["kind"], p["annotation"], p["required"], p.get("default")) for p in entry["params"]
    ]
    return FunctionInfo(entry["name"], entry["doc"], queues, params)


def _cursor(direction: str, entry: tuple[str, int]) -> str:
    return f"{direction}{entry[1]}:{entry[0]}"


def _parse_cursor(cursor: str | None) -> tuple[Any, str | None]:
    """Score and id of a cursor; a broken one starts at the first page."""
    if cursor is None:
        return None, None
    score, _, task_id = cursor[1:].partition(":")
    return (int(score), task_id) if score.isdigit() and task_id else (None, None)
