"""Real commands in real processes: started as a person would, read as a person would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually

REPO = Path(__file__).parents[2]
YADTQ = (sys.executable, "-m", "yadtq")


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment without settings of YADTQ and without colours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("YADTQ_")}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **(more or {})}


def as_environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """Settings as a shell would hand them over."""
    return {
        f"YADTQ_{name.upper()}": ",".join(value) if isinstance(value, list) else str(value)
        for name, value in settings.items()
    }


class Running:
    """A command that runs; its output is gathered as it comes."""

    def __init__(self, command: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def says(self, text: str, timeout: float = 60.0) -> str:
        """Wait for a line with this text."""

        def line() -> str | None:
            found = next((line for line in list(self.lines) if text in line), None)
            if found is None and self.process.poll() is not None:
                self._reader.join()
                found = next((line for line in self.lines if text in line), None)
                assert found is not None, f"it ended with {self.process.returncode} without {text!r}:\n{self.output}"
            return found

        try:
            found = eventually(line, timeout)
        except AssertionError as error:
            raise AssertionError(f"no {text!r} in:\n{self.output}") from error
        assert found is not None
        return found

    def ends(self, number: signal.Signals | None = None, timeout: float = 60.0) -> int:
        """Its exit code, after this signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(timeout)
        self._reader.join()
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stdout:
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Start commands; what still runs at the end is killed, and its children die with it."""
    running: list[Running] = []

    def begin(*command: str, cwd: Path, environment: Mapping[str, str] | None = None) -> Running:
        running.append(Running(command, cwd, environment or {}))
        return running[-1]

    yield begin
    for one in running:
        one.kill()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return example_project(tmp_path_factory.mktemp("project"))


def example_project(folder: Path) -> Path:
    """The folder with the example client and worker in it, as a user's project has them."""
    for name in ("clientcode.py", "workercode.py"):
        shutil.copy(REPO / name, folder)
    return folder


def processes() -> dict[int, tuple[int, str]]:
    """Every living process: its parent and its command line."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in listed.splitlines():
        pid, parent, state, command = line.split(None, 3)
        if not state.startswith("Z"):
            found[int(pid)] = (int(parent), command)
    return found


def descendants(pid: int) -> dict[int, str]:
    """All processes below this one, with their command lines."""
    everyone = processes()
    found: dict[int, str] = {}
    front = {pid}
    while front:
        front = {child for child, (parent, _) in everyone.items() if parent in front and child not in found}
        found.update({child: everyone[child][1] for child in front})
    return found


def children(pid: int, containing: str) -> set[int]:
    """The direct children whose command line has this in it."""
    return {child for child, (parent, command) in processes().items() if parent == pid and containing in command}


def all_gone(pids: Sequence[int] | set[int] | dict[int, str]) -> bool:
    return not set(pids) & set(processes())
