"""A long history in Redis, as the moves would have left it: for the benchmarks of reads and of pages."""

from __future__ import annotations

from typing import Any

from yadtq.core.yadtq_fingerprint import fingerprint
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_views import record_action

BATCH = 2_000
KEPT = 10_000  # entries of an index of ended tasks
NAMES = [f"app.task_{number}" for number in range(40)]
ERRORS = [f"{kind}Error: {thing} is missing" for kind in ("Key", "OS", "Value") for thing in ("file", "row", "user")]


def fill(store: ResultStore, finished: int, failed: int) -> None:
    """The history, oldest first; one task a millisecond up to now."""
    now = store.time_ms()
    write(store, "success", finished, now)
    write(store, "failed", failed, now)
    write_sizes(store)
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


def write_sizes(store: ResultStore) -> None:
    for fp, at in store.guard(lambda: store.client.zrange(store.key("groups"), 0, -1, withscores=True)):
        size = store.client.zcard(store.key("group:", fp.decode()))
        store.client.zadd(store.key("sizes"), {fp: (size << 33) + int(at / 1e6)})


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
