"""For users' tests: a client that runs tasks in place, and pytest fixtures with real embedded servers.

pytest_plugins = ["yadtq.testing"]                    # in conftest.py

def test_resize():
    client = EagerClient([resize])                    # no servers
    assert client.wait_for_result(client.submit("resize", "a.jpg")).ok

def test_with_servers(yadtq_settings):                # real Kafka and Redis, started once a run
    broker, store = create_yadtq(**yadtq_settings)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from yadtq.api.yadtq_client import new_id
from yadtq.api.yadtq_registry import Handlers, build_functions
from yadtq.config import load_settings
from yadtq.core.yadtq_codec import Codec, loads, parse, preview
from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_execution import Executor
from yadtq.core.yadtq_pools import Slot
from yadtq.core.yadtq_task import DEFAULT_QUEUE, Outcome, OutcomeKind, Task, TaskResult, TaskStatus, check_name
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis
from yadtq.errors import TaskNotFound


class EagerClient:
    """Submits like TaskClient and runs each task at once, in the caller's thread, with its retries and no pauses.

    Arguments and results go through JSON as they do for real. Time limits and delays are not kept.
    """

    def __init__(self, task_handlers: Handlers) -> None:
        self._functions = build_functions(task_handlers)
        self._executor = Executor(self._functions, load_settings({}), lambda _delivery: None)
        self._codec = Codec((), required=False)
        self._results: dict[str, TaskResult] = {}

    def submit(self, name: str, /, *args: Any, **kwargs: Any) -> str:
        """Run the task to its end and return its id.

        Raises:
            TaskNotSerializable, PayloadTooLarge, InvalidName: as for real.
        """
        body = self._codec.pack(Task(new_id(), check_name("task", name), args, kwargs))
        delivery = Delivery(PartitionState(("eager", 0), DEFAULT_QUEUE), 0, None, body, None, 0)
        task = delivery.task = parse(body)
        begun = time.time()
        outcome = self._run_to_the_end(delivery)
        self._results[task.id] = _result(task, outcome, delivery.attempt, begun)
        return task.id

    def submit_many(self, tasks: Sequence[Sequence[Any]]) -> list[str]:
        """Run tasks given as ``(name, args)`` or ``(name, args, kwargs)``; returns their ids in order."""
        return [self.submit(entry[0], *entry[1], **(entry[2] if len(entry) > 2 else {})) for entry in tasks]

    def get_result(self, task_id: str) -> TaskResult:
        """The task's result; raises TaskNotFound."""
        if task_id not in self._results:
            raise TaskNotFound(f"there is no task {task_id!r}")
        return self._results[task_id]

    def wait_for_result(self, task_id: str, timeout: float | None = None) -> TaskResult:  # noqa: ARG002 -- as TaskClient
        """As :meth:`get_result`: the task has ended already."""
        return self.get_result(task_id)

    def _run_to_the_end(self, delivery: Delivery) -> Outcome:
        while True:
            delivery.attempt += 1
            delivery.fence += 1
            self._executor.execute(delivery, Slot())
            outcome = delivery.outcome
            assert outcome is not None  # execute always leaves one
            if outcome.kind is not OutcomeKind.RETRY:
                return outcome


def _result(task: Task, outcome: Outcome, attempts: int, begun: float) -> TaskResult:
    ok = outcome.kind is OutcomeKind.SUCCESS
    return TaskResult(
        id=task.id,
        name=task.name,
        queue=DEFAULT_QUEUE,
        status=TaskStatus.SUCCESS if ok else TaskStatus.FAILED,
        result=loads(outcome.result) if ok else None,
        reason=outcome.reason.value if outcome.reason else None,
        error=outcome.error or None,
        attempts=attempts,
        args_preview=preview(task.args, task.kwargs),
        submitted_at=begun,
        started_at=begun,
        finished_at=time.time(),
    )


@pytest.fixture(scope="session")
def yadtq_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A real Kafka and Redis for the whole run; gives their addresses as settings."""
    folder = tmp_path_factory.mktemp("yadtq")
    with EmbeddedKafka(folder / "kafka", ports=[0]) as kafka, EmbeddedRedis(folder / "redis", port=0) as redis:
        yield {"kafka_servers": kafka.bootstrap_servers, "redis_url": redis.url}


@pytest.fixture
def yadtq_settings(yadtq_servers: dict[str, Any]) -> dict[str, Any]:
    """Settings for ``create_yadtq`` with names of this test's own, so that tests share servers and nothing else."""
    unique = f"test_{uuid.uuid4().hex[:8]}"
    return {**yadtq_servers, "topic": unique, "group_id": unique, "redis_prefix": f"{unique}:"}
