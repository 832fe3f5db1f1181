"""What each read of the pages costs with a long history in Redis: `python -m benchmarks.reads --help`.

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

from benchmarks.history import fill
from yadtq import create_yadtq
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import GROUP_ORDERS, Views, parse_query
from yadtq.embedded import EmbeddedRedis

BUDGET = 50.0  # ms


def reads(views: Views) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Every read that a page makes, by name."""
    yield "counts", views.counts
    for span in ("1h", "24h", "7d"):
        yield f"rates {span}", lambda span=span: views.rates(span)
    yield "queues", views.queues
    yield "workers", views.workers
    yield "failure_groups", views.failure_groups
    for order in GROUP_ORDERS:
        yield f"failure_page, {order}", lambda order=order: views.failure_page(order=order)
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
