"""The pages of workers: who is there, what each runs and uses; and what a person asks of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for

from webapp.access import relative_target
from webapp.audit import record
from webapp.engine import engine
from webapp.errors import sentence
from yadtq.core.yadtq_views import dismiss_worker
from yadtq.errors import WorkerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flask.typing import ResponseReturnValue

    from yadtq.core.yadtq_views import WorkerInfo

pages = Blueprint("workers", __name__)

_ON_CARD = 3  # running tasks a card names
_ON_PAGE = 50
_GONE = 3  # of the workers that fell silent, how many are told of on top


@dataclass(frozen=True)
class Sums:
    """The figures over all workers that are online."""

    slots: int
    busy: int
    paused: int
    done_rate: float
    failed_rate: float
    memory: int | None
    largest: WorkerInfo | None  # in memory


@pages.get("/workers")
def index() -> ResponseReturnValue:
    """All workers that beat within the last hour, online ones as cards."""
    reads = engine().views
    mark = reads.change_mark()
    everyone = reads.workers()
    wanted = request.args.get("q", "").strip()
    found = [worker for worker in everyone if _fits(worker, wanted.lower())]
    online = [worker for worker in everyone if worker.online]
    ids = [slot.task for worker in found if worker.online for slot in worker.slots[:_ON_CARD]]
    return render_template(
        "workers.html",
        mark=mark,
        everyone=everyone,
        online=[worker for worker in found if worker.online],
        offline=[worker for worker in found if not worker.online],
        silent=[worker for worker in everyone if worker.silent][:_GONE],
        wanted=wanted,
        sums=_sums(online),
        alone=_alone(online),
        tasks=reads.tasks_by_id(ids),
        progress=reads.progress(ids),
        on_card=_ON_CARD,
        queue_of={engine().topic_of(queue): queue for worker in online for queue in worker.queues},
    )


@pages.get("/workers/<worker_id>")
def show(worker_id: str) -> ResponseReturnValue:
    """One worker and what it runs."""
    reads = engine().views
    mark = reads.change_mark()
    everyone = reads.workers()
    found = next((worker for worker in everyone if worker.id == worker_id), None) or reads.worker(worker_id)
    if found is None:
        abort(404, "No worker with this id has sent a heartbeat in the last hour.")
    ids = [slot.task for slot in found.slots[:_ON_PAGE]]
    return render_template(
        "worker.html",
        mark=mark,
        worker=found,
        alone=_alone([worker for worker in everyone if worker.online]),
        tasks=reads.tasks_by_id(ids),
        progress=reads.progress(ids),
    )


@pages.post("/workers/<worker_id>/pause")
def pause(worker_id: str) -> ResponseReturnValue:
    """Have it claim nothing more."""
    return _ask("pause worker", worker_id, engine().client.pause_worker, "It takes nothing new; what runs goes on.")


@pages.post("/workers/<worker_id>/resume")
def resume(worker_id: str) -> ResponseReturnValue:
    """Have it claim again."""
    return _ask("resume worker", worker_id, engine().client.resume_worker, "It takes tasks again.")


@pages.post("/workers/<worker_id>/shutdown")
def shut_down(worker_id: str) -> ResponseReturnValue:
    """End its process as SIGTERM does."""
    words = "It lets running tasks end within its grace time, hands the rest back and leaves."
    return _ask("shut down worker", worker_id, engine().client.shut_down_worker, words)


@pages.post("/workers/<worker_id>/dismiss")
def dismiss(worker_id: str) -> ResponseReturnValue:
    """Tell of it no more that this worker is offline."""
    found = engine().views.worker(worker_id)
    if found is None:
        abort(404, "No worker with this id has sent a heartbeat in the last hour.")
    dismiss_worker(engine().store, worker_id)
    record("dismiss worker", worker_id, found.name)
    return redirect(relative_target(request.form.get("next")), 303)


def _ask(action: str, worker_id: str, move: Callable[[str], str], words: str) -> ResponseReturnValue:
    try:
        move(worker_id)
    except WorkerError as refusal:
        flash(sentence(refusal), "failed")
    else:
        found = engine().views.worker(worker_id)
        record(action, worker_id, found.name if found else "")
        flash(f"Asked; the worker hears of it within 5 seconds. {words}", "success")
    return redirect(relative_target(request.form.get("next") or url_for("workers.show", worker_id=worker_id)), 303)


def _fits(worker: WorkerInfo, wanted: str) -> bool:
    return any(wanted in text.lower() for text in (worker.name, worker.host, worker.id, *worker.queues))


def _sums(online: Sequence[WorkerInfo]) -> Sums:
    known = [worker for worker in online if worker.memory is not None]
    return Sums(
        slots=sum(worker.concurrency for worker in online),
        busy=sum(worker.busy for worker in online),
        paused=sum(worker.paused > 0 for worker in online),
        done_rate=sum(worker.done_rate for worker in online),
        failed_rate=sum(worker.failed_rate for worker in online),
        memory=sum(worker.memory or 0 for worker in known) if known else None,
        largest=max(known, key=lambda worker: worker.memory or 0, default=None),
    )


def _alone(online: Sequence[WorkerInfo]) -> dict[str, list[str]]:
    """Per worker the queues that nobody else takes from."""
    at_work = [worker for worker in online if not worker.paused]
    return {
        worker.id: [
            queue
            for queue in worker.queues
            if not any(queue in other.queues for other in at_work if other.id != worker.id)
        ]
        for worker in online
    }
