"""docs/guarantees.md and the table of faults in docs/operations.md: each row is held by tests that are there."""

import ast
import functools
import re

import pytest

from tests.unit.test_docs import README, ROOT

GUARANTEES = ROOT / "docs" / "guarantees.md"
LINK = re.compile(r"\[`(\w+)`\]\((\.\./tests/[\w/]+\.py)\)")


@functools.cache
def defined_in(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def rows(page, heading):
    """The rows of the first table after a heading, without its head."""
    section = page.read_text().split(f"\n## {heading}\n", 1)[1]
    return re.search(r"^\|.*?(?=\n\n|\Z)", section, re.MULTILINE | re.DOTALL)[0].splitlines()[2:]


def test_every_test_that_is_named_exists():
    text = GUARANTEES.read_text()
    links = LINK.findall(text)
    assert len(links) == text.count("](../tests/"), (
        "a link to a test is not of the form [`test_name`](../tests/file.py)"
    )
    missing = [name for name, path in links if name not in defined_in((GUARANTEES.parent / path).resolve())]
    assert missing == []
    assert all(name.startswith("test_") for name, _ in links)


@pytest.mark.parametrize("heading", ["Promises", "What happens when"])
def test_every_row_has_a_test(heading):
    found = rows(GUARANTEES, heading)
    assert found
    for row in found:
        assert LINK.search(row.strip("|").split("|")[-1]), f"no test holds: {row[:80]}"


def test_every_promise_of_the_readme_has_a_row_here():
    promised = re.findall(r"^(\d\. )\*\*(.+?)\.?\*\*", README.read_text(), re.MULTILINE)
    assert len(promised) == 8
    named = [row.split("|")[1].strip(" *") for row in rows(GUARANTEES, "Promises")]
    assert named == ["".join(promise) for promise in promised]
