"""clientcode.py and workercode.py, run as the README tells."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Start, as_environment, clean_environment
from yadtq.embedded import EmbeddedRedis
from yadtq.embedded.folder import choose_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def client(project: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "clientcode.py", *arguments],
        cwd=project,
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_worker_and_client_together(start: Start, project: Path, fresh_settings: Callable[..., dict[str, Any]]) -> None:
    environment = as_environment(fresh_settings())
    worker = start(sys.executable, "workercode.py", cwd=project, environment=environment)
    done = client(project, environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is queued") == 5
    for end in ("add is success 5", "multiply is success 20", "sub is success 6", "divide is success 3"):
        assert end in done.stderr
    assert "divide is failed division by zero" in done.stderr
    assert worker.ends(signal.SIGINT) == 0
    assert "Traceback" not in worker.output + done.stderr


def test_without_servers_the_client_says_what_to_start_and_gives_up(project: Path) -> None:
    port = choose_port((), set())
    environment = {
        "YADTQ_REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "YADTQ_KAFKA_SERVERS": f"127.0.0.1:{port}",
    }
    done = client(project, environment, "12")
    assert done.returncode == 1
    assert f"Redis at 127.0.0.1:{port}" in done.stderr
    pauses = [float(pause) for pause in re.findall(r"trying again in ([\d.]+) s", done.stderr)]
    assert pauses == sorted(pauses)
    assert "giving up" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_kafka_the_client_says_so_and_gives_up(project: Path, redis_server: EmbeddedRedis) -> None:
    port = choose_port((), set())
    environment = {
        "YADTQ_REDIS_URL": redis_server.url,
        "YADTQ_REDIS_PREFIX": "no_kafka:",
        "YADTQ_KAFKA_SERVERS": f"127.0.0.1:{port}",
    }
    done = client(project, environment, "8")
    assert done.returncode == 1
    assert f"Kafka at 127.0.0.1:{port} cannot be reached" in done.stderr
    assert "5 tasks have not ended" in done.stderr


def test_without_servers_the_worker_says_what_to_start_and_stops_on_ctrl_c(start: Start, project: Path) -> None:
    port = choose_port((), set())
    environment = {
        "YADTQ_REDIS_URL": f"redis://127.0.0.1:{port}/0",
        "YADTQ_KAFKA_SERVERS": f"127.0.0.1:{port}",
    }
    worker = start(sys.executable, "workercode.py", cwd=project, environment=environment)
    worker.says(f"at 127.0.0.1:{port} cannot be reached")
    assert worker.ends(signal.SIGINT) == 0
    assert "Traceback" not in worker.output


@pytest.mark.parametrize("module", ["clientcode", "workercode"])
def test_importing_starts_nothing(project: Path, module: str) -> None:
    code = f"import {module}, threading; assert threading.active_count() == 1; print('quiet')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("quiet\n", "")
