"""Both pools on real servers: time limits, hung tasks, tasks that kill what runs them, and stops that cannot wait."""

from __future__ import annotations

import ctypes
import importlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import House, eventually
from yadtq import TaskCancelled, TaskStatus, TaskTimeout
from yadtq.core import yadtq_processes

POOLS = ["thread", "process"]


def note(folder: str, word: str, number: int) -> None:
    with (Path(folder) / "log").open("a") as log:
        log.write(f"{word} {number} {os.getpid()}\n")


def count(folder: Path, word: str, number: int) -> int:
    return (folder / "log").read_text().count(f"{word} {number} ")


def add(a: int, b: int) -> int:
    return a + b


def hold(folder: str, number: int) -> int:
    """Until the gate opens."""
    note(folder, "begin", number)
    while not (Path(folder) / "open").exists():
        time.sleep(0.02)
    note(folder, "end", number)
    return number


def deaf(folder: str, number: int) -> int:
    """As ``hold``, heeding nothing that is raised."""
    note(folder, "begin", number)
    while not (Path(folder) / "open").exists():
        try:
            time.sleep(0.02)
        except (TaskTimeout, TaskCancelled):
            continue
    note(folder, "end", number)
    return number


def crash(folder: str, number: int, how: str) -> None:
    note(folder, "begin", number)
    if how == "exit":
        os._exit(4)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short


def end_a_fork(folder: str, by: int) -> int | None:
    """Fork as multiprocessing does, and ask the fork to end; how it ended, None where it does not heed that."""
    fork = multiprocessing.get_context("fork").Process(target=hold, args=(folder, 7))
    fork.start()
    while not count(Path(folder), "begin", 7):
        time.sleep(0.02)
    os.kill(fork.pid or 0, by)
    fork.join(3)
    code = fork.exitcode
    fork.kill()
    return code


HANDLERS = {"add": add, "hold": hold, "deaf": deaf, "crash": crash, "end_a_fork": end_a_fork}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    settings = fresh_settings(time_scale=0.1, partitions=2, retry_backoff=0.05, retries=1, timeout_grace=0.5)
    with House(settings) as house:
        yield house


# -- time limits and cancels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS)
def test_a_time_limit_passed_is_a_failed_attempt(house: House, folder: Path, pool: str) -> None:
    house.worker(HANDLERS, pool=pool)
    task_id = house.client.options(timeout=0.3).submit("hold", str(folder), 1)
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.status, result.reason, result.attempts, result.lost) == (TaskStatus.FAILED, "timeout", 2, 0)
    assert result.error == "ran longer than 0.3 s"


def test_a_hung_process_is_killed_and_its_attempt_has_failed(house: House, folder: Path) -> None:
    house.worker(HANDLERS, pool="process", concurrency=1)
    task_id = house.client.options(timeout=0.3).submit("deaf", str(folder), 1)
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.status, result.reason, result.attempts, result.lost) == (TaskStatus.FAILED, "timeout", 2, 0)
    assert "its process was killed" in result.error
    assert count(folder, "begin", 1) == 2
    assert house.ended([house.client.submit("add", 1, 2)])[0].result == 3


def test_a_hung_thread_is_given_up_shown_and_replaced(
    house: House, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house.worker(HANDLERS, concurrency=1)
    task_id = house.client.options(timeout=0.3, retries=0).submit("deaf", str(folder), 1)
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.status, result.reason, result.attempts) == (TaskStatus.FAILED, "timeout", 1)
    assert "its thread was given up" in result.error
    assert house.ended([house.client.submit("add", 1, 2)])[0].result == 3  # the one slot is there again
    eventually(lambda: [worker.stuck for worker in house.views.workers()] == [1])
    assert [record.levelname for record in caplog.records if "its thread was given up" in record.message] == ["ERROR"]
    (folder / "open").touch()
    eventually(lambda: count(folder, "end", 1) == 1)
    eventually(lambda: [worker.stuck for worker in house.views.workers()] == [0])
    assert house.client.get_result(task_id).status == TaskStatus.FAILED  # what it returned late was dropped


def test_a_worker_whose_threads_all_hang_stops(house: House, folder: Path) -> None:
    worker = house.worker(HANDLERS, concurrency=1, grace=0.0)
    house.client.options(timeout=0.2, retries=0).submit_many([("deaf", (str(folder), n)) for n in range(2)])
    eventually(worker._stop.is_set, 20)  # one replacement, then none
    (folder / "open").touch()


@pytest.mark.parametrize("name", ["hold", "deaf"])
def test_a_cancelled_run_in_a_process_ends_cancelled(house: House, folder: Path, name: str) -> None:
    house.worker(HANDLERS, pool="process", concurrency=1)
    task_id = house.client.submit(name, str(folder), 1)
    eventually(lambda: count(folder, "begin", 1), 20)
    house.client.cancel(task_id)
    assert house.client.wait_for_result(task_id, timeout=20).status == TaskStatus.CANCELLED
    assert house.ended([house.client.submit("add", 1, 2)])[0].result == 3


# -- tasks that kill their process ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exit", "ended with exit code 4"),
        ("segfault", "killed by SIGSEGV"),
        ("kill", "killed by SIGKILL (out of memory?)"),
    ],
)
def test_a_task_that_kills_its_process_fails_alone(house: House, folder: Path, how: str, words: str) -> None:
    """The first two deaths happen beside companions, which feel nothing; for the third the worker empties itself."""
    house.worker(HANDLERS, pool="process", concurrency=4)
    companions = house.client.submit_many([("hold", (str(folder), number)) for number in range(3)])
    eventually(lambda: all(count(folder, "begin", number) for number in range(3)), 20)
    task_id = house.client.submit("crash", str(folder), 9, how)
    eventually(lambda: house.client.get_result(task_id).lost == 2, 20)
    (folder / "open").touch()
    result = house.client.wait_for_result(task_id, timeout=30)
    assert (result.status, result.reason, result.lost) == (TaskStatus.FAILED, "worker_lost", 3)
    assert result.error == f"three runs died; the last: its process {'was ' if 'killed' in words else ''}{words}"
    assert count(folder, "begin", 9) == 3
    assert [entry.outcome for entry in house.views.task(task_id).history] == ["lost"] * 3
    assert result.gen == 3
    for other in house.ended(companions):
        assert (other.status, other.lost, other.attempts, other.gen) == (TaskStatus.SUCCESS, 0, 1, 1)
    assert all(count(folder, "begin", number) == 1 for number in range(3))


def test_a_worker_whose_children_cannot_be_started_leaves_its_partitions_to_others_until_they_can(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_processes, "LONGEST_PAUSE", 0.5)
    broken = house.worker(HANDLERS, pool="process", concurrency=2)
    pool: Any = broken._pool
    eventually(lambda: pool.capacity == 2, 20)
    whole, pool._launch.command[:] = list(pool._launch.command), ["/no/such/program"]
    for child in pool.pids:
        os.kill(child, signal.SIGKILL)
    first = house.client.submit_many([("add", (number, 1)) for number in range(10)])
    eventually(lambda: broken._poller.consumer is None, 20)
    house.worker(HANDLERS)
    assert [result.result for result in house.ended(first, 30)] == list(range(1, 11))
    pool._launch.command[:] = whole
    eventually(lambda: broken._poller.assigned, 30)
    assert {result.ok for result in house.ended(house.client.submit_many([("add", (1, 2))] * 10))} == {True}


# -- stops that cannot wait ----------------------------------------------------------------------------------------

WORKER = """
import json, sys
from tests.integration.test_engine_pools import HANDLERS
from yadtq import TaskWorker, create_yadtq

TaskWorker(*create_yadtq(**json.loads(sys.argv[1])), HANDLERS, pool=sys.argv[2], grace=float(sys.argv[3])).run()
"""

Begin = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def begin(house: House) -> Iterator[Begin]:
    """Workers in processes of their own, each in a consumer group of its own."""
    processes: list[subprocess.Popen[bytes]] = []

    def one(pool: str, grace: float) -> subprocess.Popen[bytes]:
        settings = {**house.settings, "group_id": f"{house.settings['group_id']}-{len(processes)}"}
        command = [sys.executable, "-c", WORKER, json.dumps(settings), pool, str(grace)]
        processes.append(subprocess.Popen(command))
        return processes[-1]

    yield one
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("pool", POOLS)
def test_what_outlasts_the_grace_time_is_handed_back_once(house: House, folder: Path, begin: Begin, pool: str) -> None:
    first = begin(pool, 0.5)
    task_id = house.client.submit("deaf", str(folder), 1)
    eventually(lambda: count(folder, "begin", 1) == 1, 20)
    stopped_at = time.monotonic()
    first.terminate()
    assert first.wait(20) == 0
    assert time.monotonic() - stopped_at < 0.5 + 10  # on a busy machine; the task itself would never end
    assert house.client.get_result(task_id).status == TaskStatus.QUEUED
    begin(pool, 5.0)
    eventually(lambda: count(folder, "begin", 1) == 2, 20)
    (folder / "open").touch()
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.status, result.lost, result.attempts, result.gen) == (TaskStatus.SUCCESS, 0, 1, 2)
    assert (count(folder, "begin", 1), count(folder, "end", 1)) == (2, 1)


def test_a_process_is_dead_before_its_task_is_handed_back(house: House, folder: Path, begin: Begin) -> None:
    worker = begin("process", 0.2)
    task_id = house.client.submit("deaf", str(folder), 1)
    eventually(lambda: count(folder, "begin", 1) == 1, 20)
    child = int((folder / "log").read_text().split()[-1])
    worker.terminate()
    house.reaches(task_id, "queued")
    eventually(
        lambda: not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_text(), 0.3
    )


@pytest.mark.parametrize("pool", POOLS)
def test_a_second_signal_ends_it_at_once(house: House, folder: Path, begin: Begin, pool: str) -> None:
    worker = begin(pool, 60.0)
    task_id = house.client.submit("deaf", str(folder), 1)
    eventually(lambda: count(folder, "begin", 1) == 1, 20)
    worker.terminate()
    eventually(lambda: any(info.stopping for info in house.views.workers()))
    again_at = time.monotonic()
    worker.terminate()
    assert worker.wait(20) == 0
    assert time.monotonic() - again_at < 4
    result = house.client.get_result(task_id)
    assert (result.status, result.lost) == (TaskStatus.QUEUED, 0)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("pool", POOLS)
def test_what_a_task_forks_ends_when_the_task_asks_it_to(
    house: House, folder: Path, begin: Begin, pool: str, by: signal.Signals
) -> None:
    """It inherits what the worker, or the child, does at a signal; only these two outlive it."""
    worker = begin(pool, 5.0)
    task_id = house.client.submit("end_a_fork", str(folder), int(by))
    assert house.client.wait_for_result(task_id, timeout=30).result == -by
    assert worker.poll() is None


def test_a_killed_worker_takes_its_children_along(house: House, folder: Path, begin: Begin) -> None:
    worker = begin("process", 5.0)
    task_id = house.client.submit("deaf", str(folder), 1)
    eventually(lambda: count(folder, "begin", 1) == 1, 20)
    worker.kill()
    worker.wait()
    begin("process", 5.0)
    eventually(lambda: count(folder, "begin", 1) == 2, 20)
    (folder / "open").touch()
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.status, result.lost) == (TaskStatus.SUCCESS, 1)
    assert count(folder, "end", 1) == 1  # the first run is dead, not only forgotten


def test_a_worker_whose_children_take_long_to_load_is_not_there_before(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be silent after its first beat, and be declared dead."""
    (tmp_path / "slow_to_load.py").write_text(
        "import os, time\n\ntime.sleep(float(os.environ.get('SLOW_TO_LOAD', 0)))\n\n\ndef add(a, b):\n    return a + b\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    slow = importlib.import_module("slow_to_load")
    monkeypatch.setenv("SLOW_TO_LOAD", "3")
    worker = house.worker({"add": slow.add}, ready=0, pool="process", concurrency=1)
    assert not worker.wait_ready(2.0)
    assert house.views.workers() == []
    assert worker.wait_ready(20.0)
    assert house.client.wait_for_result(house.client.submit("add", 1, 2), timeout=20).result == 3


def test_no_thread_is_left_behind(house: House) -> None:
    before = set(threading.enumerate())
    worker = house.worker(HANDLERS, pool="process", concurrency=2)
    assert house.ended([house.client.submit("add", 1, 2)])[0].result == 3
    assert {info.pool for info in house.views.workers()} == {"process"}
    worker.stop()
    left = {t.name for t in set(threading.enumerate()) - before if t.name.startswith("yadtq-task")}
    assert left == set()
