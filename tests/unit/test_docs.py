"""README and docs/ say what the code says.

The table of ``docs/settings.md`` is written from ``Settings`` by ``python -m tests.unit.test_docs``.
"""

import ast
import dataclasses
import re
from pathlib import Path

import click
import pytest

import yadtq
from yadtq.cli import main
from yadtq.config import ENV_PREFIX, Settings
from yadtq.core.yadtq_task import LEGAL_MOVES, Reason, TaskStatus

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SETTINGS = ROOT / "docs" / "settings.md"
LIFECYCLE = ROOT / "docs" / "lifecycle.md"
PAGES = [README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TABLE = re.compile(r"(<!-- table: begin[^>]*-->\n).*?(<!-- table: end -->)", re.DOTALL)


def page_name(page):
    return page.relative_to(ROOT).as_posix()


def settings_table():
    lines = ["| name | environment | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        default = default_text(field.default)
        meaning = field.metadata["help"].replace("<", "\\<").replace("|", "\\|")
        lines.append(f"| `{field.name}` | `{env_name(field)}` | {default} | {meaning} |")
    return "\n".join(lines) + "\n"


def env_name(field):
    return ENV_PREFIX + field.name.upper()


def default_text(value):
    if value is None or value == ():
        return ""
    if isinstance(value, tuple):
        value = ",".join(value)
    if isinstance(value, float):
        value = f"{value:.12g}"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def write_settings_table():
    text = SETTINGS.read_text()
    SETTINGS.write_text(TABLE.sub(lambda found: found[1] + settings_table() + found[2], text))


def test_settings_page_holds_every_setting_as_it_is():
    found = TABLE.search(SETTINGS.read_text())
    assert found, "docs/settings.md has lost the marks of its table"
    written = found[0].split("\n", 1)[1].removesuffix(found[2])
    assert written == settings_table(), "write it anew: python -m tests.unit.test_docs"


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_settings_named_in_the_pages_exist(page):
    known = {env_name(field) for field in dataclasses.fields(Settings)}
    assert set(re.findall(r"\bYADTQ_[A-Z_]*[A-Z]", page.read_text())) <= known


def links_of(page):
    text = without_code(page.read_text())
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors_of(page):
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_local_links_lead_somewhere(page):
    for link in links_of(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leaves the project"
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors_of(target), f"{link} names no heading"


def test_every_page_of_the_docs_can_be_reached_from_the_readme():
    readme = {(README.parent / link).resolve() for link in links_of(README)}
    missing = [page_name(page) for page in PAGES if page != README and not readme & {page, page.parent}]
    assert missing == []


def commands_named_in(text):
    """The commands after ``yadtq`` at the start of a line of code or of a code span."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", without_code(text))
    lines = [line.strip() for block in blocks for line in block.splitlines()] + spans
    return [found[1] for line in lines if (found := re.match(r"yadtq ([a-z]+(?: [a-z]+)?)", line))]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_commands_named_in_the_pages_exist(page):
    for words in commands_named_in(page.read_text()):
        first, _, second = words.partition(" ")
        assert first in main.commands, f"there is no `yadtq {first}`"
        command = main.commands[first]
        if isinstance(command, click.Group) and second:
            assert second in command.commands, f"there is no `yadtq {words}`"


def test_readme_names_every_command():
    named = {words.partition(" ")[0] for words in commands_named_in(README.read_text())}
    assert named == set(main.commands)


def test_options_named_in_the_readme_exist():
    rows = re.findall(r"^\| `yadtq ([a-z]+)(?: (add))?([^`]*)`", README.read_text(), re.MULTILINE)
    assert rows
    for name, sub, rest in rows:
        command = main.commands[name].commands[sub] if sub else main.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<!\S)--?[a-zA-Z]+", rest)) <= known, f"an option of `yadtq {name}` is not there"


def table_after(heading, text):
    """The cells of the first table after a heading, without its head."""
    section = text.split(f"\n{heading}\n", 1)[1]
    rows = re.search(r"^\|.*?(?=\n\n|\Z)", section, re.MULTILINE | re.DOTALL)[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in rows]


def test_lifecycle_page_draws_the_legal_moves():
    rows = table_after("## Every move", LIFECYCLE.read_text())
    drawn = [(before, after) for before, after, _when in rows]
    legal = [(str(before), str(after)) for before, afters in LEGAL_MOVES.items() for after in afters]
    assert sorted(drawn) == sorted(legal)


def test_lifecycle_page_names_the_states_and_reasons():
    text = LIFECYCLE.read_text()
    assert [row[0] for row in table_after("# The life of a task", "\n" + text)] == [
        str(status) for status in sorted(TaskStatus, key=list(TaskStatus).index)
    ]
    assert [row[0] for row in table_after("## Why a task failed", text)] == [str(reason) for reason in Reason]


def test_every_public_name_is_described():
    text = "\n".join(page.read_text() for page in PAGES)
    missing = [name for name in yadtq.__all__ if not re.search(rf"`[^`\n]*\b{name}\b|\bimport\b.*\b{name}\b", text)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_python_in_the_pages_compiles_and_imports_what_exists(page):
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "yadtq":
                assert {alias.name for alias in node.names} <= set(yadtq.__all__)


def test_decisions_are_numbered_and_dated():
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    for number, page in enumerate(pages, 1):
        lines = page.read_text().splitlines()
        assert page.name.startswith(f"{number:04d}-")
        assert lines[0].startswith(f"# {number}. ")
        assert re.match(r"Date: \d{4}-\d\d-\d\d\. Status: \w+", lines[2])
        assert {"## Context", "## Decision", "## Consequences"} <= set(lines)


if __name__ == "__main__":
    write_settings_table()
