"""Takes bulk jobs to their end in a thread of this process, whoever started them and whoever has gone since."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from yadtq.api.yadtq_bulk import BulkJobs, unfinished
from yadtq.errors import ResultStoreUnavailable, TaskNotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from yadtq.api.yadtq_bulk import BulkJob
    from yadtq.core.yadtq_result_db import ResultStore

log = logging.getLogger(__name__)

_LOOK = 5.0  # seconds between two looks for jobs that another process has left


class BulkDriver:
    """One a process. Several processes may drive the same job: each step is done by one of them."""

    def __init__(self, store: ResultStore, jobs: Callable[[], BulkJobs]) -> None:
        self._store = store
        self._jobs = jobs  # they take a client, whose threads are only wanted where there is something to do
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._wanted = threading.Event()

    def ensure(self) -> None:
        """Have the thread; not made at import, since it would not live through gunicorn's fork."""
        with self._lock:
            if self._thread is None and not self._ended.is_set():
                self._thread = threading.Thread(target=self._run, name="yadtq-bulk", daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """A job has been started: go on at once."""
        self.ensure()
        self._wanted.set()

    def close(self) -> None:
        """End after the present step."""
        self._ended.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(15)

    def _run(self) -> None:
        while not self._ended.is_set():
            advanced = False
            try:
                advanced = self._round()
            except ResultStoreUnavailable as error:
                log.debug("bulk jobs wait for Redis: %s", error)  # the outage has a log line of its own
            except Exception:
                log.exception("the bulk jobs of this process pause for %.0f s, then go on", _LOOK)
            if not advanced:
                self._wanted.wait(_LOOK)
                self._wanted.clear()

    def _round(self) -> bool:
        """One step of every unfinished job; whether any of them moved."""
        waiting = unfinished(self._store)
        if not waiting:
            return False
        jobs = self._jobs()
        moved = [self._step(jobs, job_id) for job_id in waiting if not self._ended.is_set()]
        return any(moved)

    def _step(self, jobs: BulkJobs, job_id: str) -> bool:
        try:
            before: BulkJob = jobs.get(job_id)
            return jobs.step(job_id) != before
        except TaskNotFound:
            jobs.stop(job_id)  # its day was over before anybody came
            return False
