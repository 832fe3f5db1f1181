"""The words of the pages: the command that starts a worker, and sentences."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.starting import start_command
from webapp.wording import as_sentence
from yadtq.core.yadtq_views import WorkerInfo


def worker(target: str, *queues: str) -> WorkerInfo:
    given: dict[str, Any] = dict.fromkeys(("id", "name", "host", "version"), "") | {
        "queues": [*queues],
        "target": target,
    }
    given |= dict.fromkeys(("pid", "concurrency", "started_at", "beat_at", "age", "done", "failed"), 0)
    given |= dict.fromkeys(("online", "stopping", "stopped"), False) | {"partitions": {}, "running": []}
    return WorkerInfo(**given)


@pytest.mark.parametrize(
    ("targets", "queue", "command"),
    [
        ([], "", "yadtq worker MODULE"),
        ([("", "media")], "media", "yadtq worker MODULE -Q media"),
        (
            [("shop.tasks", "default"), ("shop.tasks", "default"), ("films:handlers", "media")],
            "",
            "yadtq worker shop.tasks",
        ),
        (
            [("shop.tasks", "default"), ("shop.tasks", "default"), ("films", "media")],
            "media",
            "yadtq worker films -Q media",
        ),
        ([("shop.tasks", "default")], "new", "yadtq worker shop.tasks -Q new"),
    ],
)
def test_the_command_starts_a_worker_like_those_that_were_here(
    targets: list[tuple[str, str]], queue: str, command: str
) -> None:
    assert start_command([worker(target, of) for target, of in targets], queue) == command


def test_a_question_keeps_its_mark() -> None:
    assert as_sentence("it does not answer; is it reachable?") == "It does not answer; is it reachable?"
    assert as_sentence("it is gone.") == "It is gone."
