"""All reads: one task for a client, lists and figures for pages and the command line. Each is one round trip or few."""

from __future__ import annotations

from yadtq.core.views.audit import AuditReads, record_action
from yadtq.core.views.changes import Watcher
from yadtq.core.views.failures import GROUP_ORDERS, FailureReads, GroupOrder
from yadtq.core.views.lags import LagReads, note_lags
from yadtq.core.views.models import (
    Action,
    Attempt,
    AuditEntry,
    AuditPage,
    Changes,
    Count,
    FailedStart,
    FailureGroup,
    FunctionInfo,
    GroupPage,
    LogLine,
    Mark,
    MinuteStats,
    ParamInfo,
    Progress,
    QueueInfo,
    Rate,
    SlotInfo,
    TaskDetail,
    TaskPage,
    WaitingFact,
    WorkerInfo,
)
from yadtq.core.views.rates import RateReads, Span
from yadtq.core.views.waiting import WaitingReads
from yadtq.core.views.workers import dismiss_worker, note_failed_start
from yadtq.core.yadtq_histogram import Histogram
from yadtq.core.yadtq_query import Query, parse_query

__all__ = [
    "GROUP_ORDERS",
    "Action",
    "Attempt",
    "AuditEntry",
    "AuditPage",
    "Changes",
    "Count",
    "FailedStart",
    "FailureGroup",
    "FunctionInfo",
    "GroupOrder",
    "GroupPage",
    "Histogram",
    "LogLine",
    "Mark",
    "MinuteStats",
    "ParamInfo",
    "Progress",
    "Query",
    "QueueInfo",
    "Rate",
    "SlotInfo",
    "Span",
    "TaskDetail",
    "TaskPage",
    "Views",
    "WaitingFact",
    "Watcher",
    "WorkerInfo",
    "dismiss_worker",
    "note_failed_start",
    "note_lags",
    "parse_query",
    "record_action",
]


class Views(FailureReads, WaitingReads, RateReads, AuditReads, LagReads):
    """Reads of one store; each raises ResultStoreUnavailable."""
