"""A program that has submitted and forks: both go on, each with connections and threads of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import House, eventually

PARENT_AND_CHILD = """
import json, multiprocessing, os, sys, time
import redis
from yadtq import TaskClient, create_yadtq

settings = json.loads(sys.argv[1])
outbox = redis.Redis.from_url(settings["redis_url"]), settings["redis_prefix"] + "outbox"
client = TaskClient(*create_yadtq(**settings))

def submit(count):
    return client.submit_many([("add", (number, 1)) for number in range(count)])

def told(ids):
    print(json.dumps(ids), flush=True)

told(submit(3))
while outbox[0].zcard(outbox[1]):
    time.sleep(0.02)  # the connections that the child must not use are there
if sys.argv[2] == "fork":
    child = os.fork()
    told(submit(4))
    if child:
        os.waitpid(child, 0)
else:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        told(sum(pool.map(submit, [2, 2]), []))
        pool.close()
        pool.join()
    told(submit(4))
"""


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    with House(fresh_settings()) as house:
        yield house


@pytest.mark.parametrize("how", ["fork", "pool"])
def test_parent_and_child_both_publish_what_they_submit(house: House, how: str) -> None:
    """No worker is there: what leaves the outbox, its own process has published."""
    run = subprocess.run(
        [sys.executable, "-c", PARENT_AND_CHILD, json.dumps(house.settings), how],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"},  # 3.12 warns of any fork beside threads
    )
    ids = [task_id for line in run.stdout.splitlines() for task_id in json.loads(line)]
    assert (len(ids), len(set(ids)), run.stderr) == (11, 11, "")
    eventually(lambda: house.redis.zcard(house.prefix + "outbox") == 0, 10)
    house.worker({"add": lambda a, b: a + b})
    assert all(result.ok for result in house.ended(ids))
