"""A live page beside a trial's workers, and whether a table shows what Redis holds."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.children import tracebacks_in
from tests.faults.web_crowd import Crowd
from tests.faults.web_reader import Rows
from tests.helpers import eventually
from tests.integration.test_web_live import cookie_of
from tests.integration.web_stack import Stack
from yadtq import TaskResult

PAGE = 50  # tasks that a list shows when it is read

Tasks = Mapping[str, TaskResult]


def wrong_rows(rows: Rows, newest: Collection[str], before: Tasks, after: Tasks) -> list[str]:
    """Tasks that a table shows as Redis held them at no time between two looks, or does not show though they were the newest.

    While tasks move, a table may be a moment behind: never behind the first look, nor ahead of the second.
    """
    wrong = [task_id for task_id, row in rows.items() if not _held(row, before.get(task_id), after.get(task_id))]
    end = min((after[task_id].submitted_at or 0.0 for task_id in rows if task_id in after), default=0.0)
    lacking = (after[task_id] for task_id in newest if task_id in after and task_id not in rows)
    return wrong + [task.id for task in lacking if (task.submitted_at or 0.0) > end]  # an older one has left the page


def _held(row: tuple[int, str], before: TaskResult | None, after: TaskResult | None) -> bool:
    if after is None or (before is not None and row[0] < before.seq):
        return False
    return row[0] < after.seq or row == (after.seq, str(after.status))


class LivePage:
    """Gunicorn, and one page of all tasks in one browser; use it as a context manager."""

    def __init__(self, settings: dict[str, Any], folder: Path, seed: int) -> None:
        self._log = folder / "web.log"
        self._stack = Stack(settings, app="tests.faults.web_app:app", log=self._log)
        self._crowd = Crowd(self._stack.url, cookie_of(self._stack), seed)

    def __enter__(self) -> LivePage:
        self._crowd.join(1, "/tasks", "tasks")
        eventually(lambda: self._crowd.live == 1, 20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crowd.close()
        self._stack.stop()

    def seconds_to_catch_up(self, within: float) -> float:
        """Until the table shows what Redis holds, and nothing from before this call."""
        began = time.monotonic()
        (reader,), views = self._crowd.readers, self._stack.views
        newest = {task.id for task in views.tasks(limit=PAGE).items}
        before = views.tasks_by_id({*newest, *dict(reader.rows)})

        def wrong() -> list[str]:
            rows, lacking = dict(reader.rows), set() if reader.waiting else newest
            return wrong_rows(rows, lacking, before, views.tasks_by_id({*newest, *rows}))

        eventually(lambda: not wrong(), within, every=0.05)
        return time.monotonic() - began

    def must_be_well(self) -> None:
        """Fail where the page has stopped, or the web logged a traceback."""
        wrong = self._crowd.failures(), tracebacks_in(self._log)
        assert wrong == ([], []), wrong
