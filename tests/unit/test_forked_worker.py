"""A worker that was made before a fork: it has one identity, which two processes must not share."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from yadtq import ConfigError, TaskWorker, create_yadtq

def add(a, b):
    return a + b

worker = TaskWorker(*create_yadtq(), {"add": add}, name="w")
if os.fork():
    os.wait()
    sys.exit()
if sys.argv[1] == "run":
    worker.stop()  # where it is not refused, it ends at once
try:
    getattr(worker, sys.argv[1])()
    print("begun", flush=True)
except ConfigError as error:
    print(error, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("method", ["run", "start"])
def test_a_worker_made_before_a_fork_is_refused_in_the_forked_process(method: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, method],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},  # 3.12 warns of any fork beside threads
    )
    assert done.stdout == (
        "worker w was made before a fork, and two processes would work under one identity: "
        "make the TaskWorker in the process that runs it\n"
    )
