"""A house in which things go wrong under somebody's eyes: a worker process and its log, a client, and the pages."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from tests.acceptance.conftest import YADTQ, Running, Start, as_environment
from tests.helpers import House, eventually, new_settings
from tests.integration.web_client import Web
from yadtq import ResultStoreUnavailable
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

IN_TIME = 5.5  # seconds; five are promised to a submit, the rest is for a busy machine

TASKS = """
import os, threading
from yadtq import TaskCancelled, TaskTimeout, task

@task
def add(a, b, *rest):
    return a + b

@task
def hold(path):
    while not os.path.exists(path):
        threading.Event().wait(0.02)
    return path

@task(retries=0, timeout=0.3)
def deaf(path):
    while not os.path.exists(path):
        try:
            threading.Event().wait(0.02)
        except (TaskTimeout, TaskCancelled):
            continue

@task(retries=0)
def leave():
    os._exit(4)
"""


class Stage:
    """Servers that may be killed, the workers started here, a client, and somebody at the pages."""

    def __init__(self, kafka: EmbeddedKafka, redis: EmbeddedRedis, start: Start, folder: Path) -> None:
        self.kafka, self.redis, self.folder = kafka, redis, folder
        self._start = start
        self.house = House(new_settings(kafka, redis, time_scale=0.1, partitions=4, timeout_grace=0.5))
        settings = {name: value for name, value in self.house.settings.items() if name != "redis_url"}
        self.web = Web(redis.url, **settings)
        self.visitor: FlaskClient = self.web.signed_in("viewer")
        self.workers: list[Running] = []
        (folder / "seen_tasks.py").write_text(TASKS)
        self.gate = folder / "open"

    def worker(self, name: str, *options: str) -> Running:
        """One that has partitions and nothing to do."""
        environment = as_environment({**self.house.settings, "worker_name": name})
        command = (*YADTQ, "worker", "seen_tasks", "-c", "2", *options)
        self.workers.append(self._start(*command, cwd=self.folder, environment=environment))
        eventually(lambda: any(one.name == name and one.partitions for one in self.house.views.workers()), 60)
        return self.workers[-1]

    def hold(self) -> str:
        """A task that runs until :meth:`open`."""
        task_id = self.house.client.submit("hold", str(self.gate))
        self.house.reaches(task_id, "processing", timeout=30)
        return task_id

    def open(self) -> None:
        self.gate.touch()

    def wait(self, task_id: str) -> Any:
        return self.house.client.wait_for_result(task_id, timeout=90)

    def published(self) -> None:
        eventually(lambda: self.house.views.outbox_size() == 0, 30)

    def page(self, path: str) -> str:
        """What is to be read there."""
        text = re.sub(r"<(\w+)[^>]*\shidden[ >].*?</\1>", "", self.visitor.get(path).text, flags=re.DOTALL)
        return " ".join(re.sub(r"<[^>]*>", " ", html.unescape(text)).split())

    def shows(self, path: str, *words: str) -> None:
        """In time, the page has these words."""
        for each in words:
            try:
                eventually(lambda each=each: each in self.page(path), 30, every=0.3)  # type: ignore[misc]
            except AssertionError:
                raise AssertionError(f"no {each!r} on {path}: {self.page(path)}") from None

    def alarms(self) -> list[str]:
        return list(self.web.stranger().get("/readyz").get_json()["alarms"])

    def refused(self) -> str:
        """What a submit is told, in time."""
        begun = time.monotonic()
        try:
            self.house.client.submit("add", 1, 2)
        except ResultStoreUnavailable as error:
            assert time.monotonic() - begun < IN_TIME
            return str(error)
        raise AssertionError("it was accepted")

    def heard(self, worker: Running, words: str, times: int = 1) -> None:
        """The worker's log has warned of it so often; waits until it has."""
        eventually(lambda: len(warnings(worker, words)) >= times, 60)
        assert len(warnings(worker, words)) == times, worker.output

    def close(self) -> None:
        self.web.close()
        self.house.close()


def warnings(worker: Running, words: str = "") -> list[str]:
    """What a worker's log has warned of, or worse, if it holds these words."""
    return [line for line in worker.lines if re.search(r" (WARNING|ERROR|CRITICAL) ", line) and words in line]


Scene = Callable[[Stage], None]
