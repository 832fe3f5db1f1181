"""Workers: who is there, and what can be asked of them. Each hears of it with its next beat, within 5 seconds."""

from __future__ import annotations

from collections.abc import Callable

from flask import abort

from webapp.api.answers import Asked, WorkerList
from webapp.api.operation import operation
from webapp.audit import record
from webapp.engine import engine
from yadtq.core.yadtq_views import WorkerInfo


@operation("GET", "/workers", WorkerList)
def workers() -> WorkerList:
    """The workers that beat within the last hour, online ones first."""
    return WorkerList(engine().views.workers())


@operation("GET", "/workers/<worker_id>", WorkerInfo)
def worker(worker_id: str) -> WorkerInfo:
    """One worker."""
    found = engine().views.worker(worker_id)
    if found is None:
        abort(404, "No worker with this id has sent a heartbeat in the last hour.")
    return found


@operation("POST", "/workers/<worker_id>/pause", Asked)
def pause_worker(worker_id: str) -> Asked:
    """Have a worker claim nothing more; what runs goes on."""
    return _ask("pause worker", worker_id, engine().client.pause_worker)


@operation("POST", "/workers/<worker_id>/resume", Asked)
def resume_worker(worker_id: str) -> Asked:
    """Have a paused worker claim again."""
    return _ask("resume worker", worker_id, engine().client.resume_worker)


@operation("POST", "/workers/<worker_id>/shutdown", Asked)
def shut_down_worker(worker_id: str) -> Asked:
    """Have a worker's process end as on SIGTERM: running tasks have the grace time."""
    return _ask("shut down worker", worker_id, engine().client.shut_down_worker)


@operation("POST", "/tasks/<task_id>/detach", Asked)
def detach(task_id: str) -> Asked:
    """Let a running task's partition go on without it, as happens by itself after 5 minutes."""
    return _ask("detach", task_id, engine().client.detach)


def _ask(action: str, name: str, move: Callable[[str], str]) -> Asked:
    asked = Asked(move(name))
    record(action, name, f"asked {asked.worker}" if asked.worker != name else "")
    return asked
