"""The command line that starts a worker like those that are or were here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from webapp.engine import engine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flask import Flask

    from yadtq.core.yadtq_views import WorkerInfo


def init_app(app: Flask) -> None:
    """Give the templates ``start_worker(queue)``."""
    app.jinja_env.globals["start_worker"] = lambda queue="": start_command(engine().views.workers(), queue)


def start_command(workers: Iterable[WorkerInfo], queue: str = "") -> str:
    """With what most workers of the last hour were started with, those of the queue before others; else with MODULE."""
    told = [worker for worker in workers if worker.target]
    alike = [worker for worker in told if queue in worker.queues] or told
    target = Counter(worker.target for worker in alike).most_common(1)[0][0] if alike else "MODULE"
    return f"yadtq worker {target}{f' -Q {queue}' if queue else ''}"
