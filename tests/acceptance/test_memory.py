"""Tasks that eat memory: Python's own refusal fails them; a crash or the kernel's kill is theirs alone, and after three they have failed."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import YADTQ, Running, Start, as_environment, descendants
from tests.helpers import House, eventually
from yadtq import TaskStatus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, which only Linux has"),
]

MB = 1 << 20
ENOUGH = 200 * MB  # more than any process here needs beyond what it has when it is ready

HUNGRY = """
import ctypes, os, resource, threading
from yadtq import task

MB = 1 << 20

@task
def whoami():
    return os.getpid()

@task(retries=0)
def hoard():
    "More at once than there is, so that the threads beside it still get the little they need."
    return len(bytearray(4_000 * MB))

@task(retries=0)
def hoard_in_c():
    "As a library that never asks whether it was given any memory."
    now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 100 * MB, now + 100 * MB))
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.memset.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
    while True:
        libc.memset(libc.malloc(10 * MB), 1, 10 * MB)

@task(retries=0)
def wait_for(path):
    while not os.path.exists(path):
        threading.Event().wait(0.02)
    return os.getpid()
"""


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    with House(fresh_settings(time_scale=0.1, partitions=2)) as house:
        yield house


@pytest.fixture
def worker(start: Start, house: House, tmp_path: Path) -> Callable[..., Running]:
    (tmp_path / "hungry.py").write_text(HUNGRY)

    def begin(*options: str) -> Running:
        command = (*YADTQ, "worker", "hungry", *options)
        return start(*command, cwd=tmp_path, environment=as_environment(house.settings))

    return begin


def memory_of(pid: int, what: int) -> int:
    """Bytes: of its address space (0), or in memory now (1); 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[what]) * resource.getpagesize()
    except OSError:
        return 0


@contextmanager
def memory_is_short(run: Running) -> Iterator[list[int]]:
    """Kill the processes of the worker that take too much, as the kernel and systemd-oomd do; yields whom it has killed."""
    killed: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            for pid in (run.pid, *descendants(run.pid)):
                if memory_of(pid, 1) > 2 * ENOUGH and pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield killed
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_memory_that_python_refuses_fails_the_task_and_the_worker_goes_on(
    house: House, worker: Callable[..., Running], pool: str
) -> None:
    run = worker("-c", "1", "--pool", pool)
    pid = house.client.wait_for_result(house.client.submit("whoami"), timeout=60).result
    assert (pid == run.pid) == (pool == "thread")
    limit = memory_of(pid, 0) + ENOUGH
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    hungry = house.client.wait_for_result(house.client.submit("hoard"), timeout=30)
    assert (hungry.status, hungry.reason, hungry.error) == (TaskStatus.FAILED, "error", "MemoryError")
    assert (hungry.attempts, hungry.lost) == (1, 0)
    assert house.client.wait_for_result(house.client.submit("whoami"), timeout=30).result == pid
    assert run.ends(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hoard_in_c", "was killed by SIGSEGV"),
        ("hoard", "was killed by SIGKILL (out of memory?)"),
    ],
)
def test_in_the_process_pool_the_death_is_of_the_hungry_task_alone(
    house: House, worker: Callable[..., Running], tmp_path: Path, name: str, words: str
) -> None:
    run = worker("-c", "2", "--pool", "process")
    innocent = house.client.submit("wait_for", str(tmp_path / "over"))
    house.reaches(innocent, "processing", timeout=60)
    with memory_is_short(run) as killed:
        hungry = house.client.submit(name)
        eventually(lambda: house.client.get_result(hungry).lost == 2, 60)
        (tmp_path / "over").touch()  # the third time it waits until it is alone
        result = house.client.wait_for_result(hungry, timeout=60)
    assert (result.status, result.reason, result.lost) == (TaskStatus.FAILED, "worker_lost", 3)
    assert result.error == f"three runs died; the last: its process {words}"
    assert len(killed) == (3 if name == "hoard" else 0)
    other = house.client.wait_for_result(innocent, timeout=20)
    assert (other.status, other.attempts, other.lost) == (TaskStatus.SUCCESS, 1, 0)
    run.says(f"task {name} ({hungry}): its process {words}")
    assert run.ends(signal.SIGTERM) == 0


def test_in_the_thread_pool_three_workers_die_of_it_and_their_other_tasks_run_again(
    house: House, worker: Callable[..., Running]
) -> None:
    run = worker("-c", "2", "-p", "2")
    eventually(lambda: sum(one.online for one in house.views.workers()) == 2, 60)
    with memory_is_short(run) as killed:
        hungry = house.client.submit("hoard")
        innocents = house.client.submit_many([("whoami", ())] * 20)
        result = house.client.wait_for_result(hungry, timeout=120)
        others = house.ended(innocents, timeout=60)
    assert (result.status, result.reason, result.lost) == (TaskStatus.FAILED, "worker_lost", 3)
    assert result.error == "three workers died running it"
    assert len(killed) == 3
    assert {other.status for other in others} == {TaskStatus.SUCCESS}
    run.says("was killed by SIGKILL (out of memory?); it starts again")
    assert run.ends(signal.SIGTERM) == 0
