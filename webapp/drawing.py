"""The rows of the lists as live changes send them: each drawn once per change, by the template that the page uses."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from webapp.subscriber import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flask import Flask

    from yadtq.core.yadtq_task import TaskResult

    Draw = Callable[[Iterable[TaskResult]], list[Row]]

_KEPT = 1000  # rows, of 1.5 kB each


def drawer(app: Flask) -> Draw:
    """Draws each task's row, exactly as the page does."""

    def draw(tasks: Iterable[TaskResult]) -> list[Row]:
        # A context of its own: who asks may be inside of a request, whose `g` must not be taken for that of this one.
        with app.app_context(), app.test_request_context():
            context: dict[str, object] = {}
            app.update_template_context(context)
            template = app.jinja_env.get_template("_row.html")
            return [Row(task.id, task.seq, template.render(context, task=task)) for task in tasks]

    return draw


class Rows:
    """Keeps the newest: a hundred pages that come back at once are told the same rows."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._kept: OrderedDict[str, Row] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tasks: Iterable[TaskResult]) -> dict[str, Row]:
        """The rows by id."""
        wanted = list(tasks)
        with self._lock:
            found = {task.id: self._kept[task.id] for task in wanted if task.id in self._kept}
        fresh = self._draw(task for task in wanted if task.id not in found or found[task.id].rev != task.seq)
        with self._lock:
            for row in fresh:
                found[row.id] = self._kept[row.id] = row
                self._kept.move_to_end(row.id)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found
