"""How commands print: tables for people, JSON for machines, and nothing foreign unescaped."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from yadtq.core.yadtq_task import TaskStatus

# Control characters, ANSI's escape among them, and marks that turn the direction of text: task names, errors
# and results come from others, and must not be able to repaint the terminal or show a text backwards.
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PIPE_WIDTH = 200  # columns when no terminal says its own

STATUS_STYLES = {
    TaskStatus.SCHEDULED: "blue",
    TaskStatus.QUEUED: "cyan",
    TaskStatus.PROCESSING: "yellow",
    TaskStatus.RETRYING: "magenta",
    TaskStatus.SUCCESS: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.CANCELLED: "dim",
    TaskStatus.EXPIRED: "dim",
}


def console(*, stderr: bool = False) -> Console:
    """A console for the present stdout or stderr, wide where no terminal limits it."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _PIPE_WIDTH, highlight=False, soft_wrap=False)


def clean(value: object) -> str:
    """Foreign text without characters that could act on the terminal; line ends and tabs stay."""
    return _UNSAFE.sub("", str(value))


def plain(value: object, style: str = "") -> Text:
    """Foreign text on one line, as rich text whose markup is not read."""
    return Text(" ".join(clean(value).split()), style=style)


def status(value: TaskStatus) -> Text:
    """A status in its colour."""
    return Text(value.value, style=STATUS_STYLES[value])


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table; a column whose name ends in ``#`` is aligned right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        name = column.removesuffix("#")
        made.add_column(name, justify="right" if name != column else "left", no_wrap=name in ("id", "status"))
    return made


def print_json(data: Any) -> None:
    """JSON on stdout; other than ASCII is escaped, so it is safe on any terminal."""
    click.echo(json.dumps(data, indent=2, default=str))


def complain(message: object) -> None:
    """One clear line on stderr."""
    click.echo(f"yadtq: {' '.join(clean(message).split())}", err=True)


def span(seconds: float) -> str:
    """A time span in its largest unit, as people say it."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def ago(moment: float | None, now: float) -> str:
    """How long ago a moment was, or a dash where there was none."""
    return "–" if moment is None else f"{span(now - moment)} ago"


def clock(moment: float | None) -> str:
    """A moment as local date and time."""
    if moment is None:
        return "–"
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")
