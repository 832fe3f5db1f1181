"""Workers as processes of their own that are killed, paused, or killed by what they run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import House, eventually
from yadtq import TaskStatus

# A worker whose tasks write down that they began and ended, and wait until the test lets them through.
WORKER = """
import json, os, sys, threading
from pathlib import Path
from yadtq import TaskWorker, create_yadtq

settings, folder = json.loads(sys.argv[1]), Path(sys.argv[2])

def note(*words):
    with (folder / "log").open("a") as log:
        log.write(" ".join(map(str, (os.getpid(), *words))) + "\\n")

def hold(number):
    note("begin", number)
    while not (folder / "open").exists() and not (folder / f"open-{os.getpid()}").exists():
        threading.Event().wait(0.02)
    note("end", number)
    return [number, os.getpid()]

def kill_the_worker(companions):
    note("begin", "killer")
    begun = lambda: (folder / "log").read_text().count(f"{os.getpid()} begin")
    while not (folder / "alone").exists() and begun() < companions + 1:
        threading.Event().wait(0.02)
    os._exit(9)

TaskWorker(*create_yadtq(**settings), {"hold": hold, "kill_the_worker": kill_the_worker}).run()
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    """A client, and a keeper: a worker of another queue, in this process, that moves on what the dead held."""
    with House(fresh_settings(time_scale=0.1, partitions=4)) as house:
        house.worker({"nothing": print}, queues=["quiet"], name="keeper")
        yield house


@pytest.fixture
def start(house: House, tmp_path: Path) -> Iterator[Start]:
    """Starts worker processes; each gets a consumer group of its own unless told, so that it need not wait
    until Kafka has missed its predecessor. Which tasks it may run is Redis' word anyway."""
    processes: list[subprocess.Popen[bytes]] = []
    (tmp_path / "log").touch()

    def start_one(**settings: Any) -> subprocess.Popen[bytes]:
        number = len(processes) + 1
        names = {"group_id": f"{house.settings['group_id']}-{number}", "worker_name": f"process-{number}"}
        given = json.dumps({**house.settings, **names, **settings})
        with (tmp_path / f"process-{number}.err").open("wb") as errors:
            command = [sys.executable, "-c", WORKER, given, str(tmp_path)]
            processes.append(subprocess.Popen(command, stderr=errors))
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.wait()


def begun(folder: Path, number: int | str) -> list[int]:
    """The processes that have begun a task, by its number, in order."""
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    return [int(pid) for pid, word, who in lines if (word, who) == ("begin", str(number))]


def begun_by(folder: Path, process: subprocess.Popen[bytes]) -> list[str]:
    """The numbers of the tasks that a process has begun."""
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    return [who for pid, word, who in lines if (int(pid), word) == (process.pid, "begin")]


def open_gate(folder: Path) -> None:
    (folder / "open").touch()


def test_what_a_killed_process_held_runs_again_and_nothing_is_lost(house: House, start: Start, tmp_path: Path) -> None:
    group = house.settings["group_id"]
    first = start(group_id=group, concurrency=4)
    ids = house.client.submit_many([("hold", (number,)) for number in range(30)])
    eventually(lambda: sum(len(begun(tmp_path, number)) for number in range(30)) == 4, 20)
    running = [number for number in range(30) if begun(tmp_path, number)]
    first.kill()
    killed_at = time.monotonic()
    open_gate(tmp_path)
    second = start(group_id=group)
    results = house.ended(ids, timeout=35)  # Kafka itself takes 10 s to miss a member
    assert time.monotonic() - killed_at < 30
    assert [result.result[0] for result in results] == list(range(30))
    for number, result in enumerate(results):
        pids = [first.pid, second.pid] if number in running else [second.pid]
        assert begun(tmp_path, number) == pids
        assert (result.status, result.attempts) == (TaskStatus.SUCCESS, 1)
        assert result.lost == (1 if number in running else 0)
    history = house.views.task(ids[running[0]]).history
    assert [(entry.outcome, entry.error) for entry in history] == [("lost", "the worker stopped answering")]


def test_a_paused_process_is_fenced_and_goes_on_as_a_new_incarnation(
    house: House, start: Start, tmp_path: Path
) -> None:
    process = start()
    task_id = house.client.submit("hold", 1)
    eventually(lambda: begun(tmp_path, 1), 20)
    os.kill(process.pid, signal.SIGSTOP)
    house.reaches(task_id, "queued", timeout=15)  # moved on: its worker has been silent too long
    open_gate(tmp_path)
    os.kill(process.pid, signal.SIGCONT)
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.status, result.result, result.lost) == (TaskStatus.SUCCESS, [1, process.pid], 1)
    assert result.gen == 2
    assert begun(tmp_path, 1) == [process.pid, process.pid]  # the second run is the accepted one
    eventually(lambda: house.views.totals().get("fenced") == 1)

    def incarnations() -> list[bool]:
        return [worker.online for worker in house.views.workers() if worker.name == "process-1"]

    eventually(lambda: incarnations() == [True, False])


def test_a_late_outcome_does_not_count_while_another_run_holds_the_task(
    house: House, start: Start, tmp_path: Path
) -> None:
    paused = start()
    task_id = house.client.submit("hold", 1)
    eventually(lambda: begun(tmp_path, 1), 20)
    os.kill(paused.pid, signal.SIGSTOP)
    other = start()
    eventually(lambda: begun(tmp_path, 1) == [paused.pid, other.pid], 20)
    (tmp_path / f"open-{paused.pid}").touch()
    os.kill(paused.pid, signal.SIGCONT)
    eventually(lambda: house.views.totals().get("fenced") == 1)
    assert house.client.get_result(task_id).status == TaskStatus.PROCESSING
    open_gate(tmp_path)
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.result, result.worker) == ([1, other.pid], "process-2")


def test_a_task_that_kills_three_workers_is_failed_and_its_companions_are_not(
    house: House, start: Start, tmp_path: Path
) -> None:
    companions = house.client.submit_many([("hold", (number,)) for number in range(3)])
    killer = house.client.submit("kill_the_worker", 3)
    for _ in range(2):  # all four run side by side, and die with the worker
        dying = start(concurrency=4)
        assert dying.wait(30) == 9
        eventually(lambda: {r.status for r in house.results([killer, *companions])} == {"queued"}, 15)
    assert {result.lost for result in house.results([killer, *companions])} == {2}  # each is suspected
    process = start(concurrency=4)
    eventually(lambda: len(begun_by(tmp_path, process)) == 1, 20)
    seen_at = house.views.server_time()
    eventually(lambda: house.views.server_time() > seen_at + 3)  # the others are asked for every two seconds
    assert len(begun_by(tmp_path, process)) == 1
    (tmp_path / "alone").touch()
    open_gate(tmp_path)

    def all_ended() -> bool:
        nonlocal process
        if process.poll() is not None:  # the killer had its turn
            process = start(concurrency=4)
        return all(result.done for result in house.results([killer, *companions]))

    eventually(all_ended, 40, every=0.1)
    failed, *others = house.results([killer, *companions])
    assert (failed.status, failed.reason, failed.lost) == (TaskStatus.FAILED, "worker_lost", 3)
    assert failed.error == "three workers died running it"
    assert [other.result[0] for other in others] == [0, 1, 2]
    assert {other.lost for other in others} == {2}
    assert len(begun(tmp_path, "killer")) == 3
