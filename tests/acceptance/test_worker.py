"""`yadtq worker`: several processes kept alive, stopped by a signal, and clear words when it cannot start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import YADTQ, Start, all_gone, as_environment, children, clean_environment
from tests.helpers import eventually
from yadtq import create_yadtq
from yadtq.core.yadtq_views import Views

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def yadtq(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*YADTQ, *arguments],
        cwd=folder,
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def test_two_processes_are_kept_alive_and_stopped_together(
    start: Start, project: Path, fresh_settings: Callable[..., dict[str, Any]]
) -> None:
    settings = fresh_settings()
    environment = as_environment(settings)
    views = Views(create_yadtq(**settings)[1])
    run = start(*YADTQ, "worker", "workercode", "-p", "2", "-c", "4", cwd=project, environment=environment)

    def online() -> set[int]:
        return {worker.pid for worker in views.workers() if worker.online}

    def at_work() -> bool:
        return children(run.pid, "yadtq worker workercode") <= online() and len(online()) >= 2

    eventually(at_work, 30)
    before = children(run.pid, "yadtq worker workercode")
    assert len(before) == 2
    assert {worker.concurrency for worker in views.workers()} == {4}

    os.kill(min(before), signal.SIGKILL)
    run.says("was killed by SIGKILL (out of memory?); it starts again in 1 s")
    eventually(lambda: children(run.pid, "yadtq worker workercode") - before, 30)
    done = yadtq(project, environment, "submit", "add", "2", "3", "--wait")
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr

    after = children(run.pid, "yadtq worker workercode")
    assert run.ends(signal.SIGTERM) == 0
    assert all_gone(after)
    assert "Traceback" not in run.output


def test_a_process_pool_outlives_its_tasks(
    start: Start, tmp_path: Path, fresh_settings: Callable[..., dict[str, Any]]
) -> None:
    (tmp_path / "rough.py").write_text(
        "import os\nfrom yadtq import task\n"
        "@task\ndef leave(): os._exit(3)\n"
        "@task\ndef whoami(): return [os.getpid(), os.getppid()]\n"
    )
    environment = as_environment(fresh_settings())
    run = start(*YADTQ, "worker", "rough", "-c", "2", "--pool", "process", cwd=tmp_path, environment=environment)
    failed = yadtq(tmp_path, environment, "submit", "leave", "--wait")
    assert failed.returncode == 1
    assert "three runs died; the last: its process ended with exit code 3" in failed.stdout + failed.stderr
    done = yadtq(tmp_path, environment, "submit", "whoami", "--wait", "--json")
    child, parent = json.loads(done.stdout)["result"]
    assert parent == run.pid
    assert run.ends(signal.SIGTERM) == 0
    assert all_gone([child])
    assert "Traceback" not in run.output


def test_a_process_pool_refuses_functions_that_no_child_can_find(tmp_path: Path) -> None:
    (tmp_path / "nameless.py").write_text("task_handlers = {'add': lambda a, b: a + b}\n")
    done = yadtq(tmp_path, {}, "worker", "nameless", "--pool", "process")
    assert done.returncode == 2
    assert "task 'add' cannot run in the process pool" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_module_that_cannot_be_imported_ends_it_with_the_reason(tmp_path: Path, processes: str) -> None:
    (tmp_path / "broken.py").write_text("import not_there_at_all\n")
    done = yadtq(tmp_path, {}, "worker", "broken", "-p", processes)
    assert done.returncode == 2
    assert f"{tmp_path}/broken.py, line 1: ModuleNotFoundError: No module named 'not_there_at_all'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_whole_traceback_is_shown_on_demand(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    assert "Traceback" in yadtq(tmp_path, {}, "worker", "broken", "-v").stderr


def test_processes_obey_the_command_line_and_stay_down_once_shut_down(
    start: Start, project: Path, fresh_settings: Callable[..., dict[str, Any]]
) -> None:
    settings = fresh_settings(time_scale=0.1)
    environment = as_environment(settings)
    views = Views(create_yadtq(**settings)[1])
    run = start(*YADTQ, "worker", "workercode", "-p", "2", cwd=project, environment=environment)
    names = eventually(
        lambda: found if len(found := [one.name for one in views.workers() if one.online]) == 2 else [], 30
    )

    assert yadtq(project, environment, "pause", *names).returncode == 0
    eventually(lambda: all(worker.paused for worker in views.workers()), 10)
    submitted = yadtq(project, environment, "submit", "add", "2", "3")
    assert "paused" in yadtq(project, environment, "workers").stdout
    assert yadtq(project, environment, "resume", *names).returncode == 0
    task_id = submitted.stdout.strip()
    eventually(lambda: views.result(task_id).result == 5, 20)

    before = children(run.pid, "yadtq worker workercode")
    assert yadtq(project, environment, "shutdown", names[0]).returncode == 0
    run.says("was shut down and stays so")
    eventually(lambda: len(children(run.pid, "yadtq worker workercode")) == 1, 10)
    done = yadtq(project, environment, "shutdown", *names)
    assert done.returncode == 1  # one of them is gone already, and that is said
    assert f"no worker '{names[0]}' is online" in done.stderr
    assert run.ends() == 0
    assert all_gone(before)
    assert "Traceback" not in run.output


def test_a_worker_whose_threads_all_hang_ends_with_a_sentence_and_1(
    start: Start, tmp_path: Path, fresh_settings: Callable[..., dict[str, Any]]
) -> None:
    (tmp_path / "deaf.py").write_text(
        "import time\nfrom yadtq import task\n"
        "@task(timeout=0.2, retries=0)\n"
        "def hang():\n"
        "    while True:\n"
        "        try:\n            time.sleep(0.05)\n"
        "        except Exception:\n            pass\n"
    )
    environment = as_environment(fresh_settings(grace=0.0, timeout_grace=0.2))
    run = start(*YADTQ, "worker", "deaf", "-c", "1", cwd=tmp_path, environment=environment)
    for _ in range(2):
        yadtq(tmp_path, environment, "submit", "hang")
    assert run.ends(timeout=40) == 1
    assert "stopped: all its threads hang in tasks that passed their time limit; start it again" in run.lines[-1]
    assert "Traceback" not in run.output
