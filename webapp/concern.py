"""The kinds of live pages: one table of what concerns each, and how often it is read again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from yadtq.core.yadtq_views import Changes


@dataclass(frozen=True)
class View:
    """One kind of page; its name is the template's block ``view``, what it is about the block ``subject``."""

    concerned: Callable[[Changes, str], bool]  # whether these changes show on the page of this subject
    pace: float = 1.0  # seconds between two readings at least, however much changes
    every: float | None = None  # seconds after which it is read again though nothing has changed
    rows: bool = False  # a list of tasks, which is sent its changed rows instead


def _any(changes: Changes, _: str) -> bool:
    return bool(changes.tasks or changes.workers or changes.queues)


def _tasks(changes: Changes, _: str) -> bool:
    return bool(changes.tasks)


def _this_task(changes: Changes, subject: str) -> bool:
    return subject in changes.tasks


def _workers(changes: Changes, _: str) -> bool:
    return bool(changes.workers)


def _this_worker(changes: Changes, subject: str) -> bool:
    return subject in changes.workers if subject else bool(changes.workers)


# A new live page is one line here. `every` is for what changes by itself: ages, heartbeats that stay away, lag in Kafka.
VIEWS = {
    "failed": View(_tasks),
    "job": View(_tasks, every=2.0),
    "kafka": View(_any, pace=2.0, every=5.0),
    "overview": View(_any, every=10.0),
    "task": View(_this_task, pace=0.25, every=5.0),
    "tasks": View(_tasks, rows=True),
    "worker": View(_this_worker, every=10.0),
    "workers": View(_workers, every=10.0),
}
