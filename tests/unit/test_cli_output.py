"""What commands print: foreign text cannot act on the terminal, and times read as people say them."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from yadtq.commands import output
from yadtq.core.yadtq_task import TaskStatus


def rendered(renderable: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=120, force_terminal=True, color_system=None).print(renderable)
    return stream.getvalue()


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b[2Jgone",
        "\x1b]0;title\x07",
        "a\x9b31mb",
        "bell\x07",
        "\u202eevil",
        "nul\x00",
        "back\x08space",
        "\ud800",
    ],
)
def test_characters_that_act_on_the_terminal_are_dropped(hostile: str) -> None:
    safe = output.clean(hostile)
    assert safe.isprintable()
    safe.encode()


def test_markup_in_foreign_text_is_shown_and_not_obeyed() -> None:
    table = output.table("task")
    table.add_row(output.plain("[red]add[/red] [link=http://x]y[/link]"))
    assert "[red]add[/red] [link=http://x]y[/link]" in rendered(table)


def test_a_cell_stays_on_one_line() -> None:
    assert output.plain("first\nsecond\tthird").plain == "first second third"


def test_json_keeps_to_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"name": "\x1b[2J\u202e"})
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert "\x1b" not in printed
    assert json.loads(printed) == {"name": "\x1b[2J\u202e"}


def test_every_status_has_its_style() -> None:
    assert set(output.STATUS_STYLES) == set(TaskStatus)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_spans(seconds: float, said: str) -> None:
    assert output.span(seconds) == said


def test_a_complaint_is_one_clean_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.complain("first\nsecond \x1b[31m")
    assert capsys.readouterr().err == "yadtq: first second [31m\n"
