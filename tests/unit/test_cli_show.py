"""What `yadtq task` prints of a task that tells of itself."""

from __future__ import annotations

import io
import json

from rich.console import Console

from yadtq import TaskResult, TaskStatus
from yadtq.commands.show import LOG_LINES, _detail_dict, _detail_view
from yadtq.core.yadtq_views import LogLine, Progress, TaskDetail


def detail(progress: Progress | None, lines: int) -> TaskDetail:
    result = TaskResult("id1", "export", "default", TaskStatus.PROCESSING)
    log = [LogLine(1_700_000_000.0 + n, "WARNING", f"[red]line {n}\x1b[2J", 1) for n in range(lines)]
    return TaskDetail(result, [], {}, {}, [], "redis", [], progress, log)


def printed(shown: TaskDetail) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(_detail_view(shown))
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_progress_and_the_newest_log_lines_are_shown_as_plain_text() -> None:
    said = printed(detail(Progress(8680, 14_000, "part 7", 1_700_000_000.0), 50))
    assert "8,680 of 14,000, 62%; part 7" in said
    assert said.count("[red]line") == LOG_LINES
    assert "warning  [red]line 49" in said
    assert "\x1b[2J" not in said


def test_progress_without_a_whole_has_no_share() -> None:
    lines = [line.split() for line in printed(detail(Progress(12, None, "", 0.0), 0)).splitlines()]
    assert ["progress", "12"] in lines


def test_json_has_all_of_it() -> None:
    found = json.loads(json.dumps(_detail_dict(detail(Progress(1, 2, "x", 3.0), 50)), default=str))
    assert found["progress"] == {"done": 1, "total": 2, "note": "x", "at": 3.0}
    assert len(found["log"]) == 50
