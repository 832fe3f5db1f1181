"""From running tasks to Redis, once a second: their progress and log lines, where there is anything new."""

from __future__ import annotations

import logging
import threading
from typing import Any

from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_pools import Pool
from yadtq.core.yadtq_report import Report
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.errors import ResultStoreUnavailable

logger = logging.getLogger(__name__)

REPORT_EVERY = 1.0  # seconds


class Reporter:
    """One thread that looks at the slots. What a run tells last is written down with its outcome, by the finisher."""

    def __init__(self, store: ResultStore, pool: Pool[Delivery, Any]) -> None:
        self._store = store
        self._pool = pool
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def loop(self) -> None:
        while not self._stop.wait(REPORT_EVERY):
            self.step()

    def step(self) -> None:
        """Write down what is new; each report is whole, so one that is lost is made good by the next."""
        news: list[tuple[Report, int]] = []
        rows: list[tuple[Any, ...]] = []
        for run, report in self._pool.reports():
            version = report.version
            if version != report.written and run.task is not None:
                news.append((report, version))
                rows.append((run.task.id, run.token, report.to_json(run.attempt)))
        if not rows:
            return
        try:
            self._store.report(rows)
        except ResultStoreUnavailable as error:
            logger.debug("progress and logs are told later: %s", error)
            return
        for report, version in news:
            report.written = version
