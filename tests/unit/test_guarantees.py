"""docs/guarantees.md and the table of faults in docs/operations.md: each row is held by tests that are there."""

import ast
import functools
import re

import pytest

from tests.unit.test_docs import README, ROOT

GUARANTEES = ROOT / "docs" / "guarantees.md"
OPERATIONS = ROOT / "docs" / "operations.md"
SEEN = ROOT / "tests" / "acceptance" / "test_seen.py"
MISTAKES = ROOT / "tests" / "integration" / "test_mistakes.py"
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


def test_every_fault_test_is_named():
    """One that no row names holds nothing that anybody was promised."""
    paths = (ROOT / "tests" / "faults").glob("test_*.py")
    numbered = [name for path in paths for name in defined_in(path) if re.match(r"test_\d+_", name)]
    assert len(numbered) >= 15
    named = {name for name, _ in LINK.findall(GUARANTEES.read_text())}
    assert set(numbered) <= named


def test_every_promise_of_the_readme_has_a_row_here():
    promised = re.findall(r"^(\d\. )\*\*(.+?)\.?\*\*", README.read_text(), re.MULTILINE)
    assert len(promised) == 8
    named = [row.split("|")[1].strip(" *") for row in rows(GUARANTEES, "Promises")]
    assert named == ["".join(promise) for promise in promised]


def scenes():
    """The scenes of test_seen.py by name, each with the texts that stand in it."""
    found = {}
    for node in ast.parse(SEEN.read_text()).body:
        takes_a_stage = isinstance(node, ast.FunctionDef) and [one.arg for one in node.args.args] == ["stage"]
        if takes_a_stage:
            found[node.name] = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
    return found


def test_every_fault_that_is_played_has_a_row_and_every_row_is_played():
    names = [LINK.search(row)[1] for row in rows(OPERATIONS, "What each fault looks like")]
    assert names == list(dict.fromkeys(names))
    assert set(names) == set(scenes())


def test_what_a_row_quotes_is_looked_for():
    """N stands for a number."""
    for row in rows(OPERATIONS, "What each fault looks like"):
        texts = scenes()[LINK.search(row)[1]]
        for words in re.findall(r'"(.+?)"', row):
            pattern = re.compile(re.sub(r"\bN\b", r"\\d+", re.escape(words)))
            found = [text for text in texts if isinstance(text, str) and pattern.search(text)]
            assert found, f"no scene looks for {words!r}"


def test_every_mistake_that_is_played_has_a_row_whose_quotes_are_looked_for():
    text = MISTAKES.read_text()
    played = re.findall(r"^    (\w+): (?:both|Told)\(", text, re.MULTILINE)
    found = rows(OPERATIONS, "What each mistake looks like")
    assert sorted(LINK.findall(row)[-1][0] for row in found) == sorted(played)
    for row in found:
        for words in re.findall(r'"(.+?)"', row):
            assert words in text, f"no test looks for {words!r}"
