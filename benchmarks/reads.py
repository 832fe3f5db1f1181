"""What each read of the pages costs with a long history in Redis: `python benchmarks/reads.py --help`.

The history is written by pipelines as the moves would have left it: a row for every finished task, the newest 10,000 in
each index, all failed ones in theirs and in groups, full sums by minute, quarter and hour. Times are of the whole call.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from yadtq import create_yadtq
from yadtq.core.yadtq_fingerprint import fingerprint
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import Views, parse_query, record_action
from yadtq.embedded import EmbeddedRedis

BATCH = 2_000
BUDGET = 50.0  # ms
KEPT = 10_000  # entries of an index of ended tasks
NAMES = [f"app.task_{number}" for number in range(40)]
ERRORS = [f"{kind}Error: {thing} is missing" for kind in ("Key", "OS", "Value") for thing in ("file", "row", "user")]


def fill(store: ResultStore, finished: int, failed: int) -> None:
    """The history, oldest first; one task a millisecond up to now."""
    now = store.time_ms()
    write(store, "success", finished, now)
    write(store, "failed", failed, now)
    write(store, "queued", min(finished, KEPT), now)
    write_sums(store, now // 1000)
    for number in range(KEPT):
        record_action(store, user="ann", role="admin", action="retry", target=str(number))
    store.guard(lambda: store.client.hset(store.key("totals"), "success", finished))


def write(store: ResultStore, status: str, count: int, now: int) -> None:
    for start in range(0, count, BATCH):
        pipe = store.client.pipeline(transaction=False)
        listed: dict[str, int] = {}
        for number in range(start, min(start + BATCH, count)):
            task_id, at = f"{status[0]}{number:023d}", now - (count - number)
            pipe.hset(store.key("t:", task_id), mapping=row(status, number, at))
            listed[task_id] = at * 1000
            if status == "failed":
                fp = row(status, number, at)["fp"]
                pipe.zadd(store.key("group:", fp), {task_id: at * 1000})
                pipe.zadd(store.key("groups"), {fp: at * 1000})
        if status == "failed" or start + BATCH > count - KEPT:
            pipe.zadd(store.key("index:", status), listed)
            pipe.zadd(store.key("index:all"), listed)
            pipe.zremrangebyrank(store.key("index:all"), 0, -KEPT - 1)
        pipe.hincrby(store.key("backlog"), "default", len(listed) if status == "queued" else 0)
        store.guard(pipe.execute)


def row(status: str, number: int, at: int) -> dict[str, Any]:
    """As FIN leaves it."""
    name, error = NAMES[number % len(NAMES)], ERRORS[number % len(ERRORS)]
    common = {
        "status": status, "name": name, "queue": "default", "gen": 1, "submitted": at - 50, "changed": at, "seq": number,
        "args": f"[[{number}],{{}}]", "token": f"0123456789abcdef01234567:{number}", "worker": "box-1", "started": at - 5,
        "attempt": 1, "fence": at * 1000, "part": number % 12, "offset": number,
    }  # fmt: skip
    if status == "failed":
        return {**common, "error": error, "reason": "error", "fp": fingerprint(name, error), "noted": 1}
    return {**common, "result": str(number)} if status == "success" else common


def write_sums(store: ResultStore, now: int) -> None:
    counted = {"success": 9000, "failed": 12, "retried": 30, "cancelled": 1, "expired": 1}
    buckets = {f"{kind}{number}": number for kind in "wr" for number in range(1, 50)}
    for key, seconds, kept in (("minute:", 60, 1500), ("quarter:", 900, 100), ("hour:", 3600, 192)):
        pipe = store.client.pipeline(transaction=False)
        for index in range(kept):
            pipe.hset(store.key(key, str(now - now % seconds - index * seconds)), mapping={**counted, **buckets})
        store.guard(pipe.execute)


def reads(views: Views) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every read that a page makes, by name."""
    yield "counts", views.counts
    for span in ("1h", "24h", "7d"):
        yield f"rates {span}", lambda span=span: views.rates(span)
    yield "queues", views.queues
    yield "workers", views.workers
    yield "failure_groups", views.failure_groups
    yield "tasks, all", views.tasks
    for status in TaskStatus:
        yield f"tasks, {status}", lambda status=status: views.tasks(status)
        yield f"tasks, {status}, oldest", lambda status=status: views.tasks(status, oldest_first=True)
    deep = views.tasks(TaskStatus.FAILED, limit=1, oldest_first=True).items
    if deep:
        cursor = f"<{int((deep[0].changed_at or 0) * 1e6) + 50_000_000}:x"
        yield "tasks, failed, a deep page", lambda: views.tasks(TaskStatus.FAILED, cursor=cursor)
    for group in views.failure_groups(1):
        yield "failed_of", lambda group=group: views.failed_of(group.fingerprint)
    for text in (
        "name:task_7",
        "name:app.task_7 status:failed",
        "status:failed after:1h",
        "file",
        'error:"is missing"',
    ):
        yield f"search {text}", lambda text=text: views.search(parse_query(text))
    for text in ("name:nowhere", "status:failed error:nowhere", "nowhere at all"):
        yield f"search {text} (no match)", lambda text=text: views.search(parse_query(text))
    yield "count status:failed", lambda: views.count(parse_query("status:failed"))
    yield "count status:failed error:user", lambda: views.count(parse_query("status:failed error:user"))
    yield "audit", views.audit
    for item in views.tasks(TaskStatus.QUEUED, limit=1).items:
        yield "waiting_reason", lambda item=item: views.waiting_reason(item.id)
        yield "task", lambda item=item: views.task(item.id)


def timed(call: Callable[[], Any], times: int) -> list[float]:
    call()
    found = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        found.append((time.perf_counter() - started) * 1000)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=100_000)
    parser.add_argument("--failed", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=30, help="how often each read is timed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder), port=0) as redis:
        _, store = create_yadtq(kafka_servers="localhost:1", redis_url=redis.url)
        fill(store, options.finished, options.failed)
        slow = 0
        for name, call in reads(Views(store)):
            found = timed(call, options.times)
            median, p95 = statistics.median(found), found[int(len(found) * 0.95)]
            slow += median > BUDGET
            if options.json:
                print(json.dumps({"read": name, "median_ms": round(median, 2), "p95_ms": round(p95, 2)}))
            else:
                print(f"{name:45} median {median:7.2f} ms   p95 {p95:7.2f} ms{'   OVER BUDGET' * (median > BUDGET)}")
        store.close()
    if slow:
        raise SystemExit(f"{slow} reads take more than {BUDGET:.0f} ms")


if __name__ == "__main__":
    main()
