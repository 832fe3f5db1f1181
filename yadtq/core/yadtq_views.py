"""All reads: one task for a client, lists and figures for pages and the command line. Each is one round trip or few."""

from __future__ import annotations

from yadtq.core.views.changes import Watcher
from yadtq.core.views.models import (
    Attempt,
    Changes,
    FunctionInfo,
    Mark,
    MinuteStats,
    ParamInfo,
    QueueInfo,
    TaskDetail,
    TaskPage,
    WorkerInfo,
)
from yadtq.core.views.rates import RateReads
from yadtq.core.views.tasks import TaskReads
from yadtq.core.views.workers import WorkerReads

__all__ = [
    "Attempt",
    "Changes",
    "FunctionInfo",
    "Mark",
    "MinuteStats",
    "ParamInfo",
    "QueueInfo",
    "TaskDetail",
    "TaskPage",
    "Views",
    "Watcher",
    "WorkerInfo",
]


class Views(TaskReads, WorkerReads, RateReads):
    """Reads of one store; each raises ResultStoreUnavailable."""
