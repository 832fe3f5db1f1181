"""What must hold in Redis after any move, beside agreeing with the model."""

from __future__ import annotations

from collections import Counter

from tests.model.reference import CONTROL_FOR, Model, Row
from tests.model.world import Picture
from yadtq.core.yadtq_task import LEGAL_MOVES, TERMINAL, TaskStatus

WAITING = {"queued", "scheduled", "processing", "retrying"}
NOT_TASKS = {  # keys of the whole data set; each is bounded by the tasks that wait or run, or by a number
    "outbox", "due", "workers", "dead", "left", "backlog", "busy", "totals", "seq", "upd", "epoch",
    "groups", "sizes", "open_minute", "ever", "server", "gaps",
}  # fmt: skip


def check_against_model(picture: Picture, model: Model, now: int) -> None:
    assert set(picture.rows) == set(model.rows)
    for task_id, row in model.rows.items():
        assert seen(picture, task_id) == expected(row), task_id
        left = picture.ttl[f"t:{task_id}"]
        if row.gone_at is None:
            assert left == -1, f"{task_id} would vanish"
        else:
            assert abs(left - (row.gone_at - now)) < 1500, f"{task_id} lives {left} ms"
    assert rates(picture) == model.rates
    assert {int(start): end for start, end in exact(picture, "gaps").items()} == model.gaps
    assert exact(picture, "outbox") == model.outbox
    assert exact(picture, "due") == model.due_at
    assert exact(picture, "workers") == model.online
    assert set(picture.zsets.get("dead", {})) == model.dead
    held = {name[4:]: ids for name, ids in picture.sets.items() if name.startswith("run:")}
    assert held == {inc: ids for inc, ids in model.running.items() if ids}
    for inc, waiting in model.asked.items():
        fresh = {command: at for command, at in waiting.items() if at // 1000 > now - CONTROL_FOR + 100}
        assert exact(picture, f"control:{inc}").items() >= fresh.items()
    kept = {name: ids for name, ids in picture.strings.items() if name.startswith("key:")}
    assert sorted(kept.values()) == sorted(model.keys.values())


def exact(picture: Picture, name: str) -> dict[str, int]:
    return {member: int(score) for member, score in picture.zsets.get(name, {}).items()}


def rates(picture: Picture) -> dict[str, int]:
    """The sums of all hours, with the open minute, which is not yet in its hour."""
    sums: Counter[str] = Counter()
    for name in [name for name in picture.hashes if name.startswith("hour:")]:
        sums.update(fields(picture, name))
    assert sums == fields(picture, "ever"), "the sums since the start are not those of the hours"
    sums.update(fields(picture, open_minute(picture)))
    return sums


def fields(picture: Picture, name: str) -> dict[str, int]:
    return {field: int(n) for field, n in picture.hashes.get(name, {}).items()}


def open_minute(picture: Picture) -> str:
    return f"minute:{picture.strings.get('open_minute')}"


def seen(picture: Picture, task_id: str) -> dict[str, object]:
    row = picture.rows[task_id]
    number = {name: int(row[name]) for name in ("due", "expires", "cancel", "retried") if name in row}
    return {
        **{name: row.get(name) for name in ("status", "queue", "token", "reason", "fp")},
        **{name: int(row.get(name, 0)) for name in ("attempt", "lost", "handbacks", "gen", "changed")},
        **{name: number.get(name) for name in ("due", "expires", "cancel", "retried")},
        "place": (int(row["part"]), int(row["offset"])) if "offset" in row else None,
        "envelope": picture.strings.get(f"envelope:{task_id}"),
        "history": len(picture.lists.get(f"history:{task_id}", [])),
        "whole_result": f"result:{task_id}" in picture.strings,
        "deleted": "deleted" in row,
        "report": report(picture, task_id),
    }


def report(picture: Picture, task_id: str) -> tuple[str, str, str | None] | None:
    found = picture.hashes.get(f"report:{task_id}")
    return (found["token"], found["now"], found.get("before")) if found else None


def expected(row: Row) -> dict[str, object]:
    names = (
        "status", "queue", "token", "reason", "attempt", "lost", "handbacks", "gen", "changed",
        "due", "expires", "cancel", "retried", "place", "envelope", "history", "whole_result", "fp", "deleted", "report",
    )  # fmt: skip
    return {name: getattr(row, name) for name in names}


def check_indexes(picture: Picture) -> None:
    """Indexes and counts say what the rows say."""
    ids: dict[str, set[str]] = {status.value: set() for status in TaskStatus}
    for task_id, row in picture.rows.items():
        if "deleted" not in row:
            ids[row["status"]].add(task_id)
    for status, found in ids.items():
        index = picture.index(status)
        assert found <= index, f"{status} tasks are missing in their index"
        if status in WAITING:
            assert index == found, f"the index of {status} tasks holds others"
        assert not any(index & other for name, other in ids.items() if name != status)
    check_groups(picture, ids["failed"])
    deleted = {task_id for task_id, row in picture.rows.items() if "deleted" in row}
    listed = picture.index("all")
    assert set(picture.rows) - deleted <= listed
    assert not deleted & listed
    for name, status in (("backlog", "queued"), ("busy", "processing")):
        queues = [row["queue"] for row in picture.rows.values() if row["status"] == status]
        assert picture.counts(name) == {queue: queues.count(queue) for queue in set(queues)}, name
    outbox, due = picture.zsets.get("outbox", {}), picture.zsets.get("due", {})
    assert set(outbox) <= ids["queued"]
    assert all(f"envelope:{task_id}" in picture.strings for task_id in outbox), "it could not be published"
    assert ids["scheduled"] | ids["retrying"] <= set(due) <= ids["scheduled"] | ids["retrying"] | ids["queued"]
    needed = ids["scheduled"] | ids["retrying"] | ids["processing"]
    assert all(f"envelope:{task_id}" in picture.strings for task_id in needed), "it could not be run again"


def check_groups(picture: Picture, failed: set[str]) -> None:
    """Every failed task is in its group and no other is, but for those whose rows have vanished with time."""
    groups = {name[6:]: members for name, members in picture.zsets.items() if name.startswith("group:")}
    assert picture.zsets.get("groups", {}) == {fp: max(members.values()) for fp, members in groups.items()}
    sizes = {fp: int(score) >> 33 for fp, score in picture.zsets.get("sizes", {}).items()}
    assert sizes == {fp: len(members) for fp, members in groups.items()}
    for fp, members in groups.items():
        alike = {task_id for task_id in failed if picture.rows[task_id]["fp"] == fp}
        assert alike == set(members) & set(picture.rows), f"the group {fp} holds others"
        failed = failed - alike
    assert not failed, "failed tasks are in no group"
    for members in groups.values():
        assert set(members) <= picture.index("failed")


def check_bounds(picture: Picture) -> None:
    """Nothing that ended lives for ever, nothing belongs to nobody, and every run has somebody to miss it."""
    for task_id, row in picture.rows.items():
        ended = TaskStatus(row["status"]) in TERMINAL
        for kind in ("t:", "envelope:", "history:", "result:", "report:"):
            ttl = picture.ttl.get(kind + task_id)
            assert ttl is None or (ttl > 0) == ended, f"{kind}{task_id} of a {row['status']} task has ttl {ttl}"
        if row["status"] == "processing":
            inc = row["token"].rpartition(":")[0]
            assert task_id in picture.sets.get(f"run:{inc}", ()), "its worker's set does not know it"
            assert inc in picture.zsets.get("workers", {}), "nobody would miss its worker"
    both = set(picture.zsets.get("dead", {})) & set(picture.zsets.get("workers", {}))
    assert not both, "who was declared dead is a worker again"
    for name, ttl in picture.ttl.items():
        kind, _, part = name.partition(":")
        if name in NOT_TASKS or kind in ("index", "group") or name == open_minute(picture):
            continue
        if kind in ("t", "envelope", "history", "result", "report"):
            assert part in picture.rows, f"{name} has outlived its task"
        elif kind == "key":
            task_id = picture.strings[name]
            assert (ttl > 0) == (TaskStatus(picture.rows[task_id]["status"]) in TERMINAL), f"{name} outlives its task"
        elif kind == "run":
            assert part in picture.zsets.get("workers", {}), f"{name} belongs to nobody"
        else:
            assert ttl > 0, f"{name} lives for ever"


def check_progress(before: Picture, after: Picture, retried: set[str]) -> None:
    """From one step to the next: legal moves only, each with a higher number that the live pages will see."""
    last = int(before.strings.get("seq", 0))
    assert int(after.strings.get("seq", 0)) >= last
    told = after.zsets.get("upd", {})
    for task_id, row in after.rows.items():
        assert told[f"t:{task_id}"] == int(row["seq"]), "the live pages would miss its last change"
        old = before.rows.get(task_id)
        if old is None:
            continue
        if old["status"] != row["status"] or old.get("cancel") != row.get("cancel"):
            assert int(row["seq"]) > last, f"{task_id} changed without a new number"
        if old["status"] != row["status"]:
            again = task_id in retried or int(row["gen"]) > int(old["gen"])  # a retry, or one that Redis had forgotten
            check_move(task_id, TaskStatus(old["status"]), TaskStatus(row["status"]), again=again)
        assert int(row.get("fence", 0)) >= int(old.get("fence", 0))
        if old["status"] == row["status"] == "processing":
            newer = int(row["gen"]) > int(old["gen"])  # told again after Redis went back
            assert old["token"] == row["token"] or newer, "a running task was taken over"


def check_move(task_id: str, old: TaskStatus, new: TaskStatus, *, again: bool) -> None:
    by_person = old in TERMINAL
    assert not by_person or again, f"{task_id} had ended as {old} and is {new}"
    assert new in LEGAL_MOVES[old], f"{task_id} went from {old} to {new}"
