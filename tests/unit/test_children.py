"""The process pool when children do not come up: what waits for them, what a stop meanwhile takes, and what is left behind."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from tests.unit.test_processes import GRACE, WAIT, gone
from yadtq.api import yadtq_child
from yadtq.api.yadtq_registry import build_functions
from yadtq.config import load_settings
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_processes import ProcessPool
from yadtq.core.yadtq_task_process import Child, Launch

NOWHERE = "/no/such/program"
SLOW = """
import os, time
from pathlib import Path

if folder := os.environ.get("SLOW_TO_LOAD"):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


def add(a, b):
    return a + b
"""


def test_a_stop_while_children_load_waits_for_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_children.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    slow = importlib.import_module("slow_children")
    loading = tmp_path / "loading"
    loading.mkdir()
    monkeypatch.setenv("SLOW_TO_LOAD", str(loading))
    launch = yadtq_child.launch(build_functions({"add": slow.add}), load_settings({}))
    pool: ProcessPool[Delivery] = ProcessPool(4, print, launch, GRACE)
    pool.start()
    children = eventually(lambda: len(found := [int(one.name) for one in loading.iterdir()]) == 4 and found, WAIT)
    begun = time.monotonic()
    pool.stop()
    assert time.monotonic() - begun < 2
    assert not any(thread.is_alive() for thread in pool._threads)
    assert all(gone(child) for child in children)


# -- files ---------------------------------------------------------------------------------------------------------


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def fail_to_start(command: str) -> None:
    with pytest.raises(OSError, match="file"):
        Child(Launch([command], b""))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_child_that_cannot_be_started_leaves_no_file_open() -> None:
    before = open_files()
    for _ in range(3):
        fail_to_start(NOWHERE)
    assert open_files() == before


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_start_that_runs_out_of_files_gives_back_those_it_got(monkeypatch: pytest.MonkeyPatch) -> None:
    before, pipe = open_files(), os.pipe
    for allowed in range(2):
        left = iter(range(allowed))

        def scarce(left: Any = left) -> tuple[int, int]:
            if next(left, None) is None:
                raise OSError(24, "Too many open files")
            return pipe()

        monkeypatch.setattr(os, "pipe", scarce)
        fail_to_start(sys.executable)
        monkeypatch.undo()
    assert open_files() == before
