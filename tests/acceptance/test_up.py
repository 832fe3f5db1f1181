"""`yadtq up` as a person meets it: everything from one command, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.conftest import (
    YADTQ,
    Running,
    Start,
    all_gone,
    children,
    clean_environment,
    descendants,
    example_project,
)
from tests.helpers import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
USUAL_PORTS = (9092, 6379, 8000)


@dataclass(frozen=True)
class Up:
    """A running `yadtq up` and what it told."""

    run: Running
    folder: Path
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return self.environment["YADTQ_WEB_URL"]

    def yadtq(self, *arguments: str, code: int = 0) -> str:
        """What a command in another shell says."""
        done = subprocess.run(
            [*YADTQ, *arguments],
            cwd=self.folder,
            env=clean_environment(self.environment),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr


def up(start: Start, folder: Path, *arguments: str) -> Up:
    run = start(*YADTQ, "up", *arguments, cwd=folder)
    run.says("Ctrl-C")
    return Up(run, folder, read_env(folder / ".yadtq" / "env"))


def read_env(path: Path) -> dict[str, str]:
    """The file as a shell reads it."""
    pairs = (line.split("=", 1) for line in path.read_text().splitlines())
    return {name: shlex.split(value)[0] for name, value in pairs}


@pytest.fixture(scope="module")
def busy_ports() -> Iterator[None]:
    """The usual ports are taken, by us or by whoever has them already."""
    with ExitStack() as stack:
        for port in USUAL_PORTS:
            server = stack.enter_context(socket.socket())
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            server.listen()
        yield


@pytest.fixture(scope="module")
def house(start: Start, project: Path, busy_ports: None) -> Up:
    return up(start, project)


def test_the_dashboard_answers_and_the_link_signs_in(house: Up) -> None:
    link = re.search(r"http://\S+/login\?token=\S+", house.run.output)
    assert link
    for url in (f"{house.url}/healthz", link[0]):
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200


def test_taken_ports_are_said_and_others_used(house: Up) -> None:
    used = f"{house.environment['YADTQ_KAFKA_SERVERS']} {house.environment['YADTQ_REDIS_URL']} {house.url}"
    for port in USUAL_PORTS:
        assert f"is used instead: {port} is taken" in house.run.output
        assert f":{port}" not in used


def test_the_env_file_is_private_and_complete(house: Up) -> None:
    path = house.folder / ".yadtq" / "env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(house.environment) == {
        "YADTQ_KAFKA_SERVERS",
        "YADTQ_REDIS_URL",
        "YADTQ_WEB_URL",
        "YADTQ_API_TOKEN",
        "YADTQ_SIGNING_KEYS",
    }


def test_the_example_client_exits_with_0(house: Up) -> None:
    script = 'set -a; . .yadtq/env; set +a; exec "$0" clientcode.py'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=house.folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is queued") == 5
    assert done.stderr.count("is success") == 4
    assert done.stderr.count("is failed division by zero") == 1


def test_commands_of_another_shell(house: Up) -> None:
    assert house.yadtq("submit", "sub", "3", "-5", "--wait") == "8\n"
    assert "division by zero" in house.yadtq("submit", "divide", "1", "0", "--wait", code=1)
    task_id = house.yadtq("submit", "multiply", "6", "7").strip()
    eventually(lambda: json.loads(house.yadtq("task", task_id, "--json"))["status"] == "success", 20, every=0.2)
    assert "42" in house.yadtq("task", task_id)
    tasks = json.loads(house.yadtq("tasks", "--json", "--status", "failed"))["tasks"]
    assert {task["status"] for task in tasks} == {"failed"}
    assert "multiply" in house.yadtq("tasks")
    workers = json.loads(house.yadtq("workers", "--json"))["workers"]
    assert sum(worker["online"] for worker in workers) >= 2
    assert "online" in house.yadtq("workers")
    assert task_id in house.yadtq("retry", task_id, code=1)
    assert "nothing-like-it" in house.yadtq("cancel", "nothing-like-it", code=1)
    assert "ok" in house.yadtq("doctor")


def test_a_second_run_on_the_same_folder_is_refused_in_one_sentence(house: Up) -> None:
    said = house.yadtq("up", code=1)
    assert said.count("\n") == 1
    assert f"pid {house.run.pid}" in said
    assert house.url in said


def test_a_port_that_was_asked_for_and_is_taken(house: Up, tmp_path: Path) -> None:
    said = house.yadtq("up", "--data", str(tmp_path), "--port", house.url.rpartition(":")[2], code=2)
    assert "is taken; choose another one with --port" in said


def test_a_killed_worker_and_a_killed_dashboard_come_back(house: Up) -> None:
    for name in ("yadtq worker", "gunicorn"):
        before = children(house.run.pid, name)
        victim = min(before)
        os.kill(victim, signal.SIGKILL)

        def replaced(name: str = name, before: set[int] = before) -> set[int]:
            return children(house.run.pid, name) - before

        eventually(replaced, 30)
        assert len(children(house.run.pid, name)) == len(before)
    assert "was killed by SIGKILL (out of memory?); it starts again in 1 s" in house.run.output


def test_killed_servers_come_back_on_their_ports(house: Up) -> None:
    (redis,) = children(house.run.pid, "redis-server")
    (kafka,) = children(house.run.pid, "kafka.Kafka")
    os.kill(redis, signal.SIGKILL)
    os.kill(kafka, signal.SIGKILL)
    house.run.says("Kafka has died and is started again")
    eventually(lambda: children(house.run.pid, "kafka.Kafka") - {kafka}, 30)
    assert house.yadtq("submit", "add", "1", "1", "--wait") == "2\n"


def test_it_stops_cleanly_starts_quickly_and_survives_its_own_death(start: Start, tmp_path: Path) -> None:
    project = example_project(tmp_path)
    first = up(start, project)
    everyone = descendants(first.run.pid)
    assert first.run.ends(signal.SIGINT) == 0
    order = [first.run.lines.index(f"stopping {name}") for name in ("the workers", "the dashboard", "Kafka", "Redis")]
    assert order == sorted(order)
    assert all_gone(everyone)

    began = time.monotonic()
    second = up(start, project)
    seconds = [time.monotonic() - began]
    assert second.environment["YADTQ_SIGNING_KEYS"] == first.environment["YADTQ_SIGNING_KEYS"]
    everyone = descendants(second.run.pid)
    assert second.run.ends(signal.SIGKILL) == -signal.SIGKILL
    eventually(lambda: all_gone(everyone), 15)

    began = time.monotonic()
    third = up(start, project)
    seconds.append(time.monotonic() - began)
    assert min(seconds) < 20, seconds  # some 6 s on a quiet machine; the servers are not downloaded and formatted anew
    assert third.yadtq("submit", "add", "2", "3", "--wait") == "5\n"
    everyone = descendants(third.run.pid)
    assert third.run.ends(signal.SIGTERM) == 0
    assert all_gone(everyone)
