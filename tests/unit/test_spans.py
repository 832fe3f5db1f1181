"""Where a task's time went."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from webapp.spans import spans, sums
from yadtq.core.yadtq_task import TaskResult, TaskStatus
from yadtq.core.yadtq_views import Attempt, TaskDetail


def detail(status: TaskStatus, past: list[tuple[float, float]] | None = None, **times: Any) -> TaskDetail:
    result = TaskResult(id="a", name="add", queue="default", status=status, submitted_at=100.0, **times)
    history = [Attempt(n, "w", begun, over, "retry", "e", "") for n, (begun, over) in enumerate(past or [], 1)]
    return TaskDetail(result, [], {}, {}, history, "redis")


def seen(one: TaskDetail, now: float = 200.0) -> list[tuple[str, float]]:
    return [(span.words, span.seconds) for span in spans(one, now)]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (detail(TaskStatus.QUEUED), [("waiting", 100)]),
        (detail(TaskStatus.PROCESSING, started_at=110.0), [("waiting", 10), ("this attempt", 90)]),
        (detail(TaskStatus.SUCCESS, started_at=110.0, finished_at=150.0), [("waiting", 10), ("running", 40)]),
        (
            detail(TaskStatus.RETRYING, [(110, 120), (150, 160)], started_at=150.0),
            [("waiting", 10), ("failed attempts", 10), ("between attempts", 30), ("failed attempts", 10), ("between attempts", 40)],
        ),
        (detail(TaskStatus.FAILED, [(110, 120)], started_at=110.0, finished_at=120.0), [("waiting", 10), ("failed attempts", 10)]),
        (detail(TaskStatus.CANCELLED, finished_at=100.0), []),
        (detail(TaskStatus.FAILED, [(90, 95)], finished_at=120.0), []),  # a clock that was set
    ],
)  # fmt: skip
def test_the_pieces_tell_every_second_once(one: TaskDetail, expected: list[tuple[str, float]]) -> None:
    assert seen(one) == expected


def test_the_bar_is_full_and_each_piece_is_seen() -> None:
    pieces = spans(detail(TaskStatus.SUCCESS, [(100.001, 150)], started_at=150.001, finished_at=180.0))

    assert pieces[0].start == 0
    assert pieces[-1].start + pieces[-1].width == pytest.approx(100, abs=0.1)
    assert all(piece.width > 0.3 for piece in pieces)
    for before, after in pairwise(pieces):
        assert after.start == pytest.approx(before.start + before.width, abs=0.02)


def test_sums_are_by_kind() -> None:
    pieces = spans(detail(TaskStatus.FAILED, [(110, 120), (150, 160)], started_at=150.0, finished_at=160.0))

    assert [(span.words, span.seconds) for span in sums(pieces)] == [
        ("waiting", 10),
        ("failed attempts", 20),
        ("between attempts", 30),
    ]
