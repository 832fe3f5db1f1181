"""Workers together on real servers: queues, starts and stops, unknown tasks, rebalances, long tasks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import Crowd, House, eventually
from yadtq import TaskStatus, TaskWorker
from yadtq.core import yadtq_consumer, yadtq_intake
from yadtq.core.yadtq_keeper import Keeper

Open = Callable[..., House]


@pytest.fixture(scope="module")
def left_behind() -> Iterator[list[House]]:
    """The houses of the tests before; their workers take seconds to stop, which nobody waits for till the end."""
    houses: list[House] = []
    yield houses
    for house in houses:
        house.close()


@pytest.fixture
def open_house(fresh_settings: Callable[..., dict[str, Any]], left_behind: list[House]) -> Iterator[Open]:
    """Houses with settings of their own."""
    houses: list[House] = []

    def open_one(**settings: Any) -> House:
        houses.append(House(fresh_settings(**{"time_scale": 0.1, "partitions": 4, **settings})))
        return houses[-1]

    yield open_one
    for house in houses:
        house.dismiss()
    left_behind += houses


def add(a: int, b: int) -> int:
    return a + b


# -- queues --------------------------------------------------------------------------------------------


def test_a_worker_takes_nothing_of_a_queue_that_is_not_its_own(open_house: Open) -> None:
    house = open_house()
    ours = house.client.options(queue="ours").submit_many([("add", (1, n)) for n in range(20)])
    others = house.client.options(queue="others").submit_many([("add", (1, n)) for n in range(20)])
    house.worker({"add": add}, queues=["ours"], name="of-ours")
    house.ended(ours)
    assert {result.status for result in house.results(others)} == {TaskStatus.QUEUED}
    house.worker({"add": add}, queues=["others"], name="of-others")
    assert {result.worker for result in house.ended(others)} == {"of-others"}
    assert {result.worker for result in house.results(ours)} == {"of-ours"}


def test_one_worker_serves_several_queues_also_with_a_colon_in_a_name(open_house: Open) -> None:
    house = open_house()
    house.worker({"add": add}, queues=["default", "media:large"])
    in_default, in_media = (
        house.client.options(queue=queue).submit("add", 1, 1) for queue in ("default", "media:large")
    )
    assert [result.queue for result in house.ended([in_default, in_media])] == ["default", "media:large"]


def test_queues_with_nearly_the_same_name_are_queues_of_their_own(open_house: Open) -> None:
    """Kafka takes a dot and an underscore in topic names for the same."""
    house, queues = open_house(partitions=1), ["media.big", "media_big", "media-big", "media:big"]
    ids = [house.client.options(queue=queue).submit("add", 1, 1) for queue in queues]
    house.worker({"add": add}, queues=queues)
    assert [result.queue for result in house.ended(ids)] == queues


def test_what_was_cancelled_or_has_expired_before_a_worker_came_is_not_run(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "move_due", lambda _: None)  # so that the claim itself has to see it
    house, crowd = open_house(), Crowd()
    crowd.gate.opened.set()
    live = house.client.submit("hold", 1)
    cancelled = house.client.submit("hold", 2)
    expired = house.client.options(expires=0.1).submit("hold", 3)
    house.client.cancel(cancelled)
    eventually(lambda: house.views.server_time() > house.client.get_result(expired).expires_at)
    house.worker({"hold": crowd.hold})
    results = house.ended([live, cancelled, expired])
    assert [result.status for result in results] == ["success", "cancelled", "expired"]
    eventually(lambda: house.lag() == 0, 10, every=0.2)  # so all three records have been looked at
    assert crowd.begun == {1: 1}


# -- clients that end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3000])
def test_a_program_that_ends_without_closing_has_sent_what_it_submitted(open_house: Open, count: int) -> None:
    """No worker is there to publish it from the outbox."""
    house = open_house()
    code = "import sys, json; from yadtq import *; c = TaskClient(*create_yadtq(**json.loads(sys.argv[1]))); "
    code += f"print(*c.submit_many([('add', (1, 1))] * {count}))"
    ended = subprocess.run(
        [sys.executable, "-c", code, json.dumps(house.settings)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert len(ended.stdout.split()) == count
    assert house.views.outbox_size() == 0


# -- starting and stopping -----------------------------------------------------------------------------


def test_three_workers_of_one_process_share_broker_and_store(open_house: Open) -> None:
    house = open_house(partitions=12)
    workers = [house.worker({"add": add}, ready=0) for _ in range(3)]
    eventually(lambda: [len(worker._poller.assigned) for worker in workers] == [4, 4, 4], 20)
    results = house.ended(house.client.submit_many([("add", (n, 1)) for n in range(300)]))
    assert [result.result for result in results] == [n + 1 for n in range(300)]
    assert {result.worker for result in results} == {worker.name for worker in workers}
    assert {worker.name for worker in house.views.workers() if worker.online} == {w.name for w in workers}


def test_starting_twice_starts_once_and_stopping_twice_is_fine(open_house: Open) -> None:
    house = open_house()
    worker = house.worker({"add": add}, name="twice")
    worker.start()
    threads = [thread.name for thread in threading.enumerate() if thread.name == "yadtq-worker-twice"]
    assert len(threads) == 1
    house.ended([house.client.submit("add", 1, 1)])
    worker.stop()
    worker.stop()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "yadtq-worker-twice"]


def test_run_works_in_a_thread_that_is_not_the_main_one(open_house: Open) -> None:
    house = open_house()
    worker = TaskWorker(house.broker, house.store, {"add": add})
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert house.ended([house.client.submit("add", 2, 2)])[0].worker == worker.name
    worker.stop()
    thread.join(15)
    assert not thread.is_alive()


def test_a_stopped_worker_is_off_the_list_and_leaves_no_thread(open_house: Open) -> None:
    before = set(threading.enumerate())
    house = open_house()
    worker = house.worker({"add": add})
    house.ended([house.client.submit("add", 1, 1)])
    worker.stop()
    (info,) = house.views.workers()
    assert (info.name, info.online, info.stopped) == (worker.name, False, True)
    ours = {thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("yadtq-")}
    assert ours == {"yadtq-publisher"}  # the client's


def test_a_stop_hands_what_was_claimed_and_not_begun_back_at_once(open_house: Open) -> None:
    house, crowd = open_house(partitions=1), Crowd()
    calls = [("add", (1, 1))] * 1000 + [("hold", (number,)) for number in range(100)]
    ids = house.client.submit_many(calls)
    held = ids[1000:]
    handlers = {"add": add, "hold": crowd.hold}
    first = house.worker(handlers, concurrency=1, name="first", grace=10)
    assert crowd.gate.reached.wait(20)
    # The quick tasks before them made the worker claim ahead of its one slot.
    eventually(lambda: house.views.queues()[0].processing > 1)
    begun = time.monotonic()
    first.stop(wait=False)
    eventually(lambda: house.views.queues()[0].processing == 1, 5)
    assert time.monotonic() - begun < 1.0
    assert sum(crowd.begun.values()) == 1
    second = house.worker(handlers, name="second", ready=0)
    crowd.gate.opened.set()
    results = house.ended(held, timeout=30)
    assert {result.status for result in results} == {TaskStatus.SUCCESS}
    assert {result.attempts for result in results} == {1}
    assert {result.lost for result in results} == {0}
    assert max(result.gen for result in results) == 2  # handed back, not waited for
    assert {result.worker for result in results} == {"first", second.name}
    assert set(crowd.begun.values()) == {1}


def test_a_running_task_may_finish_within_the_grace_time(open_house: Open) -> None:
    house, crowd = open_house(), Crowd()
    worker = house.worker({"hold": crowd.hold}, grace=10)
    task_id = house.client.submit("hold", 7)
    assert crowd.gate.reached.wait(10)
    worker.stop(wait=False)
    eventually(lambda: house.views.workers()[0].stopping)
    assert house.client.get_result(task_id).status == TaskStatus.PROCESSING
    crowd.gate.opened.set()
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.result, result.gen) == (7, 1)


def test_what_does_not_finish_within_the_grace_time_is_handed_back(open_house: Open) -> None:
    house, crowd = open_house(), Crowd()
    worker = house.worker({"hold": crowd.hold}, grace=0.3)
    task_id = house.client.submit("hold", 7)
    assert crowd.gate.reached.wait(10)
    worker.stop()
    result = house.client.get_result(task_id)
    assert (result.status, result.attempts, result.lost, result.gen) == (TaskStatus.QUEUED, 0, 0, 2)
    crowd.gate.opened.set()  # the late outcome of the thread left behind must not count
    house.worker({"hold": lambda number: number * 100}, name="successor")
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.result, result.attempts, result.worker) == (700, 1, "successor")


# -- unknown tasks -------------------------------------------------------------------------------------


def test_an_unknown_task_is_handed_back_and_run_by_a_worker_that_knows_it(open_house: Open) -> None:
    house = open_house(partitions=2)
    ignorant = house.worker({"add": add}, name="ignorant", ready=0)
    knowing = house.worker({"greet": "hello {}".format}, name="knowing", ready=0)
    eventually(lambda: len(ignorant._poller.assigned) == len(knowing._poller.assigned) == 1, 20)
    results = house.ended(house.client.submit_many([("greet", (n,)) for n in range(20)]))
    assert [result.result for result in results] == [f"hello {n}" for n in range(20)]
    assert {result.worker for result in results} == {"knowing"}
    assert {result.attempts for result in results} == {1}  # a hand-back is no attempt
    history = [entry.outcome for result in results for entry in house.views.task(result.id).history]
    assert set(history) == {"handback"}  # so some did come to the one that does not know it


def test_a_task_that_no_worker_knows_fails_after_six_hand_backs(open_house: Open) -> None:
    house = open_house(time_scale=0.02)
    house.worker({"add": add, "multiply": add})
    task_id = house.client.submit("subtract", 1, 2)
    seen = house.reaches(task_id, "retrying")
    assert seen.attempts == 0
    result = house.client.wait_for_result(task_id, timeout=20)
    assert (result.status, result.reason, result.attempts) == (TaskStatus.FAILED, "unknown_task", 0)
    assert "no worker knows subtract" in result.error
    history = house.views.task(task_id).history
    assert [entry.outcome for entry in history] == ["handback"] * 7
    assert history[-1].error == "no worker knows subtract; this one knows add, multiply"


# -- partitions ----------------------------------------------------------------------------------------


def test_a_rebalance_while_tasks_run_runs_each_of_them_once(open_house: Open) -> None:
    house, crowd = open_house(partitions=4), Crowd()
    first = house.worker({"hold": crowd.hold}, concurrency=40, name="first")
    ids = house.client.submit_many([("hold", (number,)) for number in range(40)])
    eventually(lambda: len(crowd.begun) == 40)  # in each partition some
    second = house.worker({"hold": crowd.hold}, concurrency=80, name="second")
    eventually(lambda: len(first._poller.assigned) == len(second._poller.assigned) == 2, 20)
    ids += house.client.submit_many([("hold", (number,)) for number in range(40, 120)])
    eventually(lambda: len(crowd.begun) > 40)  # the newcomer works while the others' tasks still run
    second.stop(wait=False)
    eventually(lambda: any(worker.stopping for worker in house.views.workers()))
    crowd.gate.opened.set()
    results = house.ended(ids, timeout=30)
    assert [result.result for result in results] == list(range(120))
    assert crowd.begun == dict.fromkeys(range(120), 1)


def test_a_worker_with_a_full_buffer_hands_partitions_to_one_that_comes(
    open_house: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_intake, "MAX_BUFFERED", 8)
    house, crowd = open_house(), Crowd()
    busy = house.worker({"hold": crowd.hold}, concurrency=1, name="busy")
    ids = house.client.submit_many([("hold", (number,)) for number in range(100)])
    eventually(lambda: not busy._intake.room.is_set())
    house.worker({"hold": crowd.hold}, concurrency=1, name="second", ready=10)
    crowd.gate.opened.set()
    assert {result.worker for result in house.ended(ids)} == {"busy", "second"}
    assert set(crowd.begun.values()) == {1}


def test_a_worker_stuck_in_a_rebalance_joins_the_group_again(open_house: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yadtq_consumer, "STUCK_AFTER", 1.0)
    house = open_house(partitions=1)
    worker = house.worker({"add": add})
    consumer = worker._poller.consumer
    assert consumer is not None
    coordinator = consumer._consumer._coordinator
    monkeypatch.setattr(coordinator, "generation_if_stable", lambda: None)
    monkeypatch.setattr(coordinator, "rebalance_in_progress", lambda: True)

    ids = house.client.submit_many([("add", (1, n)) for n in range(50)])

    house.ended(ids)
    eventually(lambda: worker._poller.consumer not in (None, consumer), 20)
    eventually(lambda: house.lag() == 0, 30, every=0.5)


def test_a_long_task_neither_pins_its_partition_nor_runs_twice(open_house: Open) -> None:
    house, crowd = open_house(partitions=1, time_scale=0.01), Crowd()  # detached after 3 s instead of 300
    house.worker({"hold": crowd.hold, "add": add})
    long = house.client.submit("hold", 1)
    assert crowd.gate.reached.wait(10)
    house.ended(house.client.submit_many([("add", (n, n)) for n in range(50)]))
    assert house.lag() >= 51  # one that Kafka acknowledged late was sent twice, at this time scale after 0.2 s
    eventually(lambda: house.lag() == 0, 10, every=0.2)
    assert house.client.get_result(long).status == TaskStatus.PROCESSING
    crowd.gate.opened.set()
    assert house.client.wait_for_result(long, timeout=10).result == 1
    assert crowd.begun == {1: 1}
