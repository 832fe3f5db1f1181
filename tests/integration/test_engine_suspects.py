"""Tasks whose workers died twice: each runs alone in its worker, and neither one that runs long nor a crowd of them is in the way."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.helpers import Crowd, House, eventually
from yadtq import TaskStatus
from yadtq.core import yadtq_intake

DETACH_AFTER = 4.0  # seconds in the test of a long one


class Room:
    """A task that stays for a moment, and how many were there at most while each number was."""

    def __init__(self) -> None:
        self.company: Counter[int] = Counter()
        self._present: set[int] = set()
        self._lock = threading.Lock()

    def meet(self, number: int) -> int:
        with self._lock:
            self._present.add(number)
            for other in self._present:
                self.company[other] = max(self.company[other], len(self._present))
        threading.Event().wait(0.01)
        with self._lock:
            self._present.discard(number)
        return number


def test_suspects_run_alone_one_right_after_the_other(fresh_settings: Callable[..., dict[str, Any]]) -> None:
    """A worker that dies amid quick tasks leaves many suspects, nearly all of them innocent."""
    room = Room()
    with House(fresh_settings(partitions=1)) as house:
        ids = house.client.submit_many([("meet", (number,)) for number in range(80)])
        for task_id in ids[10:50]:
            house.redis.hset(f"{house.prefix}t:{task_id}", "lost", 2)
        house.worker({"meet": room.meet}, concurrency=4)
        begun_at = time.monotonic()
        results = house.ended(ids, timeout=30)
    assert time.monotonic() - begun_at < 15  # asked again every two seconds, forty would take more than a minute
    assert [result.result for result in results] == list(range(80))
    assert {room.company[number] for number in range(10, 50)} == {1}
    assert max(room.company.values()) > 1


def suspect(house: House, name: str, *args: Any) -> str:
    """A task with which two workers have died, so that it can only be a suspect when a worker starts."""
    task_id = house.client.submit(name, *args)
    house.redis.hset(f"{house.prefix}t:{task_id}", "lost", 2)
    return task_id


def double(number: int) -> int:
    return 2 * number


def test_a_suspect_that_runs_long_blocks_no_partition(
    fresh_settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task of hours may be innocent: somebody killed its worker, twice."""
    monkeypatch.setattr(yadtq_intake, "DETACH_AFTER", DETACH_AFTER / 0.1)
    long = Crowd()
    handlers = {"long": long.hold, "double": double}
    with House(fresh_settings(time_scale=0.1, partitions=2)) as house:
        task_id = suspect(house, "long", 1)
        first = house.worker(handlers, name="first", concurrency=8)
        eventually(long.gate.reached.is_set)
        ids = house.client.submit_many([("double", (number,)) for number in range(200)])
        house.worker(handlers, name="second", concurrency=8)
        results = house.ended(ids, 30)
        assert {result.worker for result in results} == {"second"}
        assert [result.result for result in results] == [2 * number for number in range(200)]
        eventually(lambda: house.lag() == 0, 30, every=0.5)
        assert house.client.get_result(task_id).status is TaskStatus.PROCESSING
        long.gate.opened.set()
        assert house.ended([task_id])[0].result == 1
        assert long.begun == {1: 1}
        eventually(lambda: len(first._poller.assigned) == 1, 20)
        results = house.ended(house.client.submit_many([("double", (number,)) for number in range(100)]))
        assert {result.worker for result in results} == {"first", "second"}


def test_where_no_other_worker_is_there_tasks_wait_until_the_suspect_has_ended_and_say_so(
    fresh_settings: Callable[..., dict[str, Any]],
) -> None:
    """Beside it they could have to answer for it, or it for them."""
    long = Crowd()
    with House(fresh_settings(time_scale=0.1, partitions=1)) as house:
        task_id = suspect(house, "long", 1)
        worker = house.worker({"long": long.hold, "double": double}, name="only")
        eventually(long.gate.reached.is_set)
        ids = house.client.submit_many([("double", (number,)) for number in range(50)])
        eventually(lambda: worker._poller.consumer is None, 20)
        eventually(lambda: [fact.code for fact in house.views.waiting_reason(ids[0])] == ["alone"])
        assert {result.status for result in house.results(ids)} == {TaskStatus.QUEUED}
        long.gate.opened.set()
        assert [result.result for result in house.ended([task_id, *ids])] == [1, *(2 * number for number in range(50))]
