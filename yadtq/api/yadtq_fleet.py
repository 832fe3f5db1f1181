"""What a person asks of workers through a client: pause, resume, shut down, let go of a task's record."""

from __future__ import annotations

from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import Views, WorkerInfo
from yadtq.errors import IllegalMove, WorkerError, WorkerNotFound


class FleetSteering:
    """The part of the client that asks workers. Each hears of it with its next beat, within 5 seconds."""

    _broker: Broker
    _store: ResultStore
    _views: Views

    def pause_worker(self, worker: str) -> str:
        """Have a worker claim nothing more; what runs goes on. After a minute its partitions go to others.

        ``worker`` is the id or the name of one that is online; returns its id.

        Raises:
            WorkerNotFound, WorkerError (too much waits to be heard by it), ResultStoreUnavailable
        """
        return self._ask(self._online(worker), "pause")

    def resume_worker(self, worker: str) -> str:
        """Have a paused worker claim again; as :meth:`pause_worker`."""
        return self._ask(self._online(worker), "resume")

    def shut_down_worker(self, worker: str) -> str:
        """Have a worker's process end as on SIGTERM: running tasks have the grace time; as :meth:`pause_worker`."""
        return self._ask(self._online(worker), "shutdown")

    def detach(self, task_id: str) -> str:
        """Let a running task's partition go on without it, as happens by itself after 5 minutes; returns the worker asked.

        Raises:
            TaskNotFound, IllegalMove (it does not run), WorkerNotFound, WorkerError, ResultStoreUnavailable
        """
        task = self._store.patiently(lambda: self._views.result(task_id))
        if task.status is not TaskStatus.PROCESSING:
            raise IllegalMove(f"task {task_id} is {task.status}; only a running task holds its partition back")
        topic = self._broker.topic_of(task.queue)
        online = [worker for worker in self._views.workers() if worker.online]
        owns = [worker for worker in online if task.partition in worker.partitions.get(topic, ())]
        runs = [worker for worker in online if task_id in worker.running or worker.name == task.worker]
        if not owns + runs:
            raise WorkerNotFound(f"no worker that is online has partition {task.partition} of {topic}")
        return self._ask((owns + runs)[0], f"detach:{task_id}")  # the record is with who has the partition

    def _online(self, worker: str) -> WorkerInfo:
        online = [one for one in self._store.patiently(self._views.workers) if one.online]
        found = [one for one in online if one.id == worker] or [one for one in online if one.name == worker]
        if not found:
            raise WorkerNotFound(f"no worker {worker[:140]!r} is online; `yadtq workers` lists them")
        if len(found) > 1:
            ids = ", ".join(one.id for one in found)
            raise WorkerNotFound(f"{len(found)} workers are called {worker}; name one by its id: {ids}")
        return found[0]

    def _ask(self, worker: WorkerInfo, command: str) -> str:
        answer = self._store.patiently(lambda: self._store.control(worker.id, command))
        if answer == "GONE":
            raise WorkerNotFound(f"worker {worker.name} has just gone")
        if answer == "FULL":
            raise WorkerError(f"worker {worker.name} has not heard what was asked of it before; look at its beats")
        return worker.id
