"""The process pool when children do not come up: what waits for them, what a stop meanwhile takes, and what is left behind."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from tests.unit.test_processes import GRACE, WAIT, Bench, gone
from yadtq import TaskCancelled
from yadtq.api import yadtq_child
from yadtq.api.yadtq_registry import build_functions
from yadtq.config import load_settings
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_processes import ProcessPool, ProcessSlot
from yadtq.core.yadtq_task import OutcomeKind
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


def break_the_start(bench: Bench) -> None:
    """From now on no child can be started."""
    command: Any = bench.pool._launch.command
    command[:] = [NOWHERE]


def kill_idle(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    eventually(lambda: gone(child), WAIT)


@pytest.fixture
def pair() -> Any:
    made = Bench(2)
    eventually(lambda: made.pool.capacity == 2, WAIT)
    yield made
    made.pool.stop()


def test_a_run_that_meets_a_dead_child_goes_to_one_that_lives(pair: Bench) -> None:
    break_the_start(pair)
    kill_idle(pair.pool.pids[0])
    assert [pair.run("pid").kind for _ in range(6)] == [OutcomeKind.SUCCESS] * 6


def test_a_run_for_which_no_child_is_left_waits_where_it_can_be_taken_back(pair: Bench) -> None:
    break_the_start(pair)
    for child in pair.pool.pids:
        kill_idle(child)
    run = pair.begin("pid")
    eventually(lambda: pair.pool.capacity == 0, WAIT)
    assert pair.pool.take_unbegun() == [run]


def test_a_pool_knows_for_how_long_it_could_run_nothing(pair: Bench) -> None:
    assert pair.pool.unable_for == 0
    break_the_start(pair)
    for child in pair.pool.pids:
        kill_idle(child)
    begun = time.monotonic()
    pair.begin("pid")
    eventually(lambda: pair.pool.unable_for > 0.5, WAIT)
    assert pair.pool.unable_for <= time.monotonic() - begun + 0.5


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


def test_a_child_that_its_thread_takes_away_just_then_is_no_error(pair: Bench) -> None:
    class Fleeting(ProcessSlot[Any]):
        """Its child is there at the first of two looks."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name == "child":
                self.child = None
            return found

    slot = Fleeting()
    child = pair.pool.slots[0].child
    pair.pool.slots.append(slot)
    slot.child = child
    assert len(pair.pool.pids) == 3
    slot.child = child
    slot._raise(TaskCancelled)
    slot.child = child
    slot.kill(None, None)
    pair.pool.slots.remove(slot)
