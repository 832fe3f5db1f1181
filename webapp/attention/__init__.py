"""What needs a person, the worst first: the top of the overview. Pure, but for the words of addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import url_for

from webapp.attention.concern import Concern
from webapp.attention.failing import failing
from webapp.attention.held import held_back
from webapp.attention.staff import backing_up, missing, paused, unserved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webapp.alarms import Alarm
    from webapp.kafka_watch import Head
    from yadtq.core.yadtq_views import FailureGroup, MinuteStats, QueueInfo, WorkerInfo


def concerns(
    workers: Sequence[WorkerInfo],
    queues: Sequence[QueueInfo],
    hour: Sequence[MinuteStats],
    worst: Sequence[FailureGroup],
    alarms: Sequence[Alarm],
    held: Sequence[Head],
) -> list[Concern]:
    """All there is; alarms that stand on every page are not told again.

    ``hour`` is its minutes, ``worst`` the groups with most failures in it.
    """
    found = [*missing(workers, queues), *unserved(workers, queues), *paused(workers, queues)]
    found += [*failing(hour, worst), *backing_up(workers, queues), *held_back(held)]
    found += [Concern(one.level, "warn", one.title, one.text, _page_of(one)) for one in alarms if not one.everywhere]
    return sorted(found, key=lambda concern: concern.level)  # failed before warn


def _page_of(alarm: Alarm) -> str:
    if alarm.name == "rejected":
        return url_for("failed.rejected")
    return url_for("workers.index") if alarm.name.startswith(("clock-", "fenced")) else ""
