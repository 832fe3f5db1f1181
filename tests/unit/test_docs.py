"""The docs say what the code does: settings, links, public names, arrows."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import yadtq
from yadtq.config import Settings
from yadtq.core.yadtq_task import LEGAL_MOVES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("setting", dataclasses.fields(Settings), ids=lambda setting: setting.name)
def test_each_setting_has_its_row(setting: dataclasses.Field[object]) -> None:
    row = f"| `{setting.name}` | `YADTQ_{setting.name.upper()}` |"
    text = (ROOT / "docs/settings.md").read_text()

    assert row in text
    assert setting.metadata["help"].replace("|", "/") in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_lifecycle_page_has_every_arrow() -> None:
    rows = re.findall(r"^\| ([a-z, ]+) \| ([a-z]+) \|", (ROOT / "docs/lifecycle.md").read_text(), re.MULTILINE)
    told = {(start, end) for starts, end in rows for start in starts.split(", ") if start != "from"}

    assert told == {(start.value, end.value) for start, ends in LEGAL_MOVES.items() for end in ends}


def test_the_readme_imports_public_names() -> None:
    imported = re.findall(r"from yadtq import (.+)", (ROOT / "README.md").read_text())

    assert imported
    assert {name for line in imported for name in line.split(", ")} <= set(yadtq.__all__)
