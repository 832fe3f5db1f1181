"""Tasks brought into a state by the moves alone, without Kafka or a worker."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from tests.model.world import World
from yadtq.core.yadtq_heartbeat import About
from yadtq.core.yadtq_result_db import ClaimItem, NewTask


def submit(world: World, *ids: str, name: str = "add", queue: str = "default", args: str = "") -> None:
    world.enqueue([NewTask(task_id, name, queue, b"envelope", args, "" if args else "1") for task_id in ids])


def submit_whole(world: World, *ids: str) -> None:
    """As :func:`submit`, with envelopes that can be read, as the page of one task and a retry do."""
    bodies = {task_id: {"v": 1, "id": task_id, "name": "add", "args": [1], "kwargs": {}, "opts": {}} for task_id in ids}
    world.enqueue(
        [
            NewTask(task_id, "add", "default", b"none\n" + json.dumps(body).encode(), "[[1],{}]", "")
            for task_id, body in bodies.items()
        ]
    )


def announce(
    world: World,
    inc: str,
    name: str = "box-1",
    queues: tuple[str, ...] = ("default",),
    slots: int = 1,
    holds: str = "",
    target: str = "",
    **state: Any,
) -> None:
    """A worker's beat that says all a page shows of it; ``holds`` are the tasks it claimed, each of one letter."""
    about = About(name, "here", "0", queues=queues, concurrency=slots, pool="thread", functions=[], target=target)
    world.beat(inc, json.dumps(asdict(about)), json.dumps(state), [token(inc, task_id) for task_id in holds])


def token(inc: str, task_id: str) -> str:
    """By which :func:`claim` takes a task."""
    return f"{inc}:{int.from_bytes(task_id.encode(), 'big')}"


def claim(world: World, inc: str, *ids: str) -> None:
    """A worker takes these tasks, which must be queued for the first time."""
    world.claim(inc, inc, [ClaimItem(task_id, 1, token(inc, task_id), world.time_ms(), b"") for task_id in ids])


def end(world: World, *ids: str, kind: str = "failed", error: str = "ValueError: no", worker: str = "box-1") -> None:
    """The tasks, which must be queued for the first time, are run to their end."""
    items = [ClaimItem(task_id, 1, f"w:{number}", world.time_ms(), b"") for number, task_id in enumerate(ids)]
    world.claim("w", worker, items)
    runs = [(task_id, f"w:{number}", kind, error, "", "error", 0, "") for number, task_id in enumerate(ids)]
    world.finish("w", runs)


def end_as(world: World, run: tuple[Any, ...]) -> None:
    """One task ended by this row of FIN."""
    world.claim("w", "box-1", [ClaimItem(run[0], 1, run[1], world.time_ms(), b"")])
    world.finish("w", [run])
