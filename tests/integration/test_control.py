"""What people ask of a worker: heard with its next beat, obeyed, and seen by everybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import Crowd, House, eventually
from yadtq import IllegalMove, WorkerNotFound
from yadtq.core.yadtq_views import WorkerInfo


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    with House(fresh_settings(time_scale=0.1, partitions=2)) as made:
        yield made


def add(a: int, b: int) -> int:
    return a + b


def shown(house: House, name: str) -> WorkerInfo:
    return next(worker for worker in house.views.workers() if worker.name == name)


def test_a_paused_worker_finishes_what_runs_takes_nothing_new_and_goes_on_when_resumed(house: House) -> None:
    crowd = Crowd()
    worker = house.worker({"hold": crowd.hold, "add": add}, name="one", concurrency=4)
    runs = house.client.submit("hold", 1)
    eventually(crowd.gate.reached.is_set)
    worker_id = house.client.pause_worker("one")
    assert shown(house, "one").id == worker_id
    eventually(lambda: shown(house, "one").paused > 0, 5)
    assert shown(house, "one").asked == []  # it has heard
    waits = house.client.submit_many([("add", (1, n)) for n in range(20)])
    eventually(lambda: worker._intake.waiting() == 20)  # it goes on polling
    crowd.gate.opened.set()
    assert house.ended([runs])[0].result == 1
    assert {result.status for result in house.results(waits)} == {"queued"}
    assert {fact.code for fact in house.views.waiting_reason(waits[0], house.broker)} >= {"paused", "partition_paused"}
    assert len(shown(house, "one").partitions[house.settings["topic"]]) == 2
    house.client.resume_worker(worker_id)
    assert [result.result for result in house.ended(waits)] == [1 + n for n in range(20)]
    eventually(lambda: shown(house, "one").paused == 0, 5)


def test_the_partitions_of_a_worker_paused_for_long_go_to_others_until_it_is_resumed(house: House) -> None:
    crowd = Crowd()
    worker = house.worker({"hold": crowd.hold, "add": add}, name="one")
    runs = house.client.submit("hold", 1)
    eventually(crowd.gate.reached.is_set)
    house.client.pause_worker("one")
    eventually(lambda: shown(house, "one").paused > 0, 5)
    waits = house.client.submit_many([("add", (1, n)) for n in range(20)])
    house.worker({"add": add}, name="two")
    assert {result.worker for result in house.ended(waits, 40)} == {
        "two"
    }  # of all partitions, after a minute (6 s here)
    assert house.client.get_result(runs).status == "processing"
    crowd.gate.opened.set()
    assert house.ended([runs])[0].worker == "one"
    eventually(lambda: house.lag() == 0, 20, every=0.2)
    house.client.resume_worker("one")
    eventually(lambda: len(worker._poller.assigned) == 1, 20)
    results = house.ended(house.client.submit_many([("add", (1, n)) for n in range(100)]))
    assert {result.worker for result in results} == {"one", "two"}


def test_a_worker_that_is_asked_to_shut_down_lets_running_tasks_end_and_leaves(house: House) -> None:
    crowd = Crowd()
    worker = house.worker({"hold": crowd.hold}, name="one")
    runs = house.client.submit("hold", 1)
    eventually(crowd.gate.reached.is_set)
    house.client.shut_down_worker("one")
    eventually(lambda: shown(house, "one").stopping, 5)
    waits = house.client.submit("hold", 2)
    crowd.gate.opened.set()
    assert worker._thread is not None
    worker._thread.join(20)
    assert not worker._thread.is_alive()
    assert house.results([runs])[0].result == 1
    assert (house.results([waits])[0].status, crowd.begun) == ("queued", {1: 1})
    assert (shown(house, "one").online, shown(house, "one").stopped) == (False, True)
    with pytest.raises(WorkerNotFound, match="no worker 'one' is online"):
        house.client.pause_worker("one")


def test_a_detached_task_holds_its_partition_back_no_more_and_ends_as_ever(house: House) -> None:
    crowd = Crowd()
    house.worker({"hold": crowd.hold, "add": add}, name="one", concurrency=4)
    runs = house.client.submit("hold", 1)
    eventually(crowd.gate.reached.is_set)
    house.ended(house.client.submit_many([("add", (1, n)) for n in range(30)]))
    held_back = eventually(house.lag, every=0.2)
    assert held_back > 0
    eventually(lambda: shown(house, "one").running == [runs], 5)
    house.client.detach(runs)
    eventually(lambda: house.lag() == 0, 15, every=0.2)
    assert house.client.get_result(runs).status == "processing"
    crowd.gate.opened.set()
    assert house.ended([runs])[0].result == 1
    with pytest.raises(IllegalMove, match="only a running task"):
        house.client.detach(runs)


def test_a_task_detached_where_another_worker_has_its_partition_by_now(house: House) -> None:
    """It runs in the first worker, and the second one has its record and hears BUSY."""
    crowd = Crowd()
    house.worker({"hold": crowd.hold}, name="one", concurrency=20)
    runs = house.client.submit_many([("hold", (n,)) for n in range(20)])
    eventually(lambda: len(crowd.begun) == 20)
    second = house.worker({"hold": crowd.hold}, name="two")
    topic, partition = next(iter(eventually(lambda: second._poller.assigned, 20)))
    moved = [result for result in house.results(runs) if result.partition == partition]
    assert moved, "no task is in the partition that moved"
    eventually(lambda: shown(house, "two").partitions == {topic: [partition]}, 5)

    def committed() -> int:
        return house.broker.group_positions([topic])[topic, partition][1]

    for result in moved:
        assert house.client.detach(result.id) == shown(house, "two").id
    eventually(lambda: committed() == len(moved), 20, every=0.2)
    assert {result.status for result in house.results(runs)} == {"processing"}
    crowd.gate.opened.set()
    assert {result.status for result in house.ended(runs)} == {"success"}
    assert set(crowd.begun.values()) == {1}


def test_what_was_asked_of_a_worker_that_did_not_hear_is_forgotten_after_a_minute(house: House) -> None:
    house.store.beat("w1", '{"name": "deaf"}', "{}", [])
    assert house.store.control("w1", "shutdown") == "OK"
    assert 0 < house.redis.pttl(f"{house.prefix}control:w1") <= 60_000
    for number in range(99):
        assert house.store.control("w1", f"detach:{number}") == "OK"
    assert house.store.control("w1", "pause") == "FULL"
    assert house.store.control("w1", "shutdown") == "OK"  # asked again
    assert house.store.control("w2", "pause") == "GONE"
