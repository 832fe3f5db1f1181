"""MODULE[:NAME] to task functions: what is found, and one sentence for each way to find nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from yadtq.commands.loading import load_handlers, require_module
from yadtq.errors import ConfigError

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module into the current directory; it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def module(name: str, text: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    yield module
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_task_handlers_and_marked_functions_are_found(write: Write) -> None:
    write(
        "found1",
        "from yadtq import task\n"
        "def add(a, b): return a + b\n"
        "@task(retries=5)\n"
        "def resize(path): return path\n"
        "def helper(): pass\n"
        "task_handlers = {'plus': add}\n",
    )
    assert sorted(load_handlers("found1")) == ["plus", "resize"]


def test_task_handlers_are_not_needed(write: Write) -> None:
    write("found2", "from yadtq import task\n@task\ndef resize(path): return path\n")
    assert list(load_handlers("found2")) == ["resize"]


@pytest.mark.parametrize(
    ("name", "found"), [("some", ["a"]), ("both", ["a", "b"]), ("b", ["b"])], ids=["dict", "list", "function"]
)
def test_a_name_picks_one_thing(write: Write, name: str, found: list[str]) -> None:
    write("found3", "def a(): pass\ndef b(): pass\nsome = {'a': a}\nboth = [a, b]\n")
    assert sorted(load_handlers(f"found3:{name}")) == found


def test_a_name_that_is_not_there(write: Write) -> None:
    path = write("found4", "number = 1\n")
    for name in ("missing", "number"):
        with pytest.raises(ConfigError, match=f"{path} has no {name} that is a dict, a list or a function"):
            load_handlers(f"found4:{name}")


def test_a_module_that_is_not_there(write: Write, tmp_path: Path) -> None:
    for name in ("nowhere1", "nowhere1.deeper"):
        with pytest.raises(ConfigError, match=f"there is no module {name} in {tmp_path}"):
            load_handlers(name)


@pytest.mark.parametrize("name", ["./workercode", "", "a b", "workercode.py"])
def test_a_file_is_not_a_module(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a module's name|is written without \.py"):
        require_module(name)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (
            "import os\nimport not_there_at_all\n",
            2,
            "ModuleNotFoundError: No module named 'not_there_at_all'",
        ),
        ("\ndef broken(:\n", 2, "SyntaxError: invalid syntax"),
        ("def f(): return 1 / 0\nf()\n", 1, "ZeroDivisionError: division by zero"),
        ("raise SystemExit('stop')\n", 1, "SystemExit: stop"),
    ],
    ids=["missing import", "syntax", "error", "exit"],
)
def test_a_failing_import_names_the_line_and_the_reason(write: Write, text: str, line: int, reason: str) -> None:
    path = write("failing1", text)
    with pytest.raises(ConfigError) as error:
        load_handlers("failing1")
    assert f"{path}, line {line}: {reason}" in str(error.value)


def test_a_module_without_tasks(write: Write) -> None:
    path = write("empty1", "def helper(): pass\n")
    with pytest.raises(ConfigError, match=f"{path} has no task functions"):
        load_handlers("empty1")
