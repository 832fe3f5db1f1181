"""A part of a worker that fails in a way nobody foresaw: the worker says so, stops, and holds no task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import House, eventually
from yadtq import TaskStatus, TaskWorker


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    with House(fresh_settings(time_scale=0.1, partitions=2, retry_backoff=0.05, retries=1)) as house:
        yield house


def add(a: int, b: int) -> int:
    return a + b


def fail() -> None:
    raise ValueError("no")


def unforeseen(*_args: object) -> None:
    raise RuntimeError("nobody foresaw this")


def stopped(worker: TaskWorker) -> str:
    """Why it stopped by itself."""
    eventually(worker._stop.is_set, 20)
    worker.stop()
    return worker._broken


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_a_slot_that_fails_ends_the_worker_and_its_task_goes_back(
    house: House, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = house.worker({"add": add}, pool=pool, grace=0.3)
    monkeypatch.setattr(worker._finisher, "put", unforeseen)
    task_id = house.client.submit("add", 1, 2)
    assert stopped(worker) == "one of its threads failed"
    assert house.client.get_result(task_id).status == TaskStatus.QUEUED
    house.worker({"add": add})
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.result, result.lost) == (3, 0)


def test_a_publisher_that_fails_ends_the_worker(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = house.worker({"fail": fail}, grace=0.3)
    monkeypatch.setattr(worker._publisher, "_confirm", unforeseen)
    house.client.submit("fail")  # its retry is published by the worker
    assert stopped(worker) == "one of its threads failed"


def test_a_watch_over_time_limits_that_fails_ends_the_worker(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = house.worker({"add": add}, grace=0.3)
    monkeypatch.setattr(worker._pool, "_look_after", unforeseen)
    assert stopped(worker) == "one of its threads failed"


def test_an_error_of_the_workers_own_in_a_run_is_no_silence(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is lost three times, as one that kills its worker, and the worker goes on."""
    monkeypatch.setattr("yadtq.core.yadtq_execution.Executor._judge", unforeseen)
    house.worker({"add": add, "fail": fail})
    result = house.client.wait_for_result(house.client.submit("fail"), timeout=30)
    assert (result.status, result.reason, result.lost) == (TaskStatus.FAILED, "worker_lost", 3)
    assert "its worker failed: RuntimeError: nobody foresaw this" in result.error
    assert house.ended([house.client.submit("add", 1, 2)])[0].result == 3
