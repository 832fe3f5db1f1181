"""Progress and log lines of running tasks, in both pools: seen while they run, kept to the last word, gone with the row."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import House, eventually
from yadtq import TaskCancelled, TaskTimeout

POOLS = ["thread", "process"]
log = logging.getLogger("a.task")


def add(a: int, b: int) -> int:
    return a + b


def tell(folder: str, *, ctx: Any) -> str:
    """Tells something, waits for the gate, tells the rest."""
    ctx.progress(1, 4, "begun")
    log.warning("opened %s", "a file")
    while not (Path(folder) / "open").exists():
        time.sleep(0.02)
    ctx.progress(4, 4, "ended")
    log.error("the last word")
    return "ok"


def stumble(*, ctx: Any) -> str:
    ctx.progress(ctx.attempt)
    log.warning("attempt %d", ctx.attempt)
    if ctx.attempt == 1:
        raise OSError("try again")
    return "ok"


def crash() -> None:
    log.warning("about to go")
    os._exit(4)


def chatter(count: int) -> None:
    for number in range(count):
        log.warning("line %d", number)


def deaf(folder: str) -> None:
    log.warning("deaf")
    while not (Path(folder) / "open").exists():
        try:
            time.sleep(0.02)
        except (TaskTimeout, TaskCancelled):
            continue


HANDLERS = {"add": add, "tell": tell, "stumble": stumble, "crash": crash, "chatter": chatter, "deaf": deaf}


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    settings = fresh_settings(time_scale=0.1, partitions=2, retry_backoff=0.05, timeout_grace=0.2)
    with House(settings) as made:
        yield made


def lines(house: House, task_id: str) -> list[tuple[str, str, int]]:
    return [(line.level, line.text, line.attempt) for line in house.views.task(task_id).log]


@pytest.mark.parametrize("pool", POOLS)
def test_what_a_task_tells_is_seen_while_it_runs_and_kept_when_it_ends(house: House, tmp_path: Path, pool: str) -> None:
    house.worker(HANDLERS, pool=pool, concurrency=2)
    task_id = house.client.submit("tell", str(tmp_path))
    eventually(lambda: house.views.task(task_id).progress, 20)
    running = eventually(lambda: found if (found := house.views.task(task_id)).log else None)
    assert running.result.status == "processing"
    assert (running.progress.done, running.progress.total, running.progress.note) == (1, 4, "begun")
    assert running.progress.share == 0.25
    assert abs(running.progress.at - time.time()) < 30
    mark = house.views.change_mark()
    (tmp_path / "open").touch()
    assert house.ended([task_id])[0].result == "ok"
    assert task_id in house.views.changes(mark.seq).tasks
    ended = house.views.task(task_id)
    assert (ended.progress.done, ended.progress.note) == (4, "ended")
    assert lines(house, task_id) == [("WARNING", "opened a file", 1), ("ERROR", "the last word", 1)]
    row, report = (house.redis.ttl(f"{house.prefix}{kind}:{task_id}") for kind in ("t", "report"))
    assert 0 < report <= row


@pytest.mark.parametrize("pool", POOLS)
def test_a_new_attempt_keeps_what_the_one_before_it_told(house: House, pool: str) -> None:
    house.worker(HANDLERS, pool=pool, concurrency=1)
    task_id = house.client.submit("stumble")
    assert house.ended([task_id])[0].result == "ok"
    assert lines(house, task_id) == [("WARNING", "attempt 1", 1), ("WARNING", "attempt 2", 2)]
    assert house.views.task(task_id).progress.done == 2


@pytest.mark.parametrize("pool", POOLS)
def test_tasks_that_tell_nothing_leave_nothing(house: House, pool: str) -> None:
    house.worker(HANDLERS, pool=pool, concurrency=1)
    telling = house.client.submit("stumble")
    silent = house.client.submit_many([("add", (n, 1)) for n in range(20)])
    house.ended([telling, *silent])
    assert house.redis.keys(f"{house.prefix}report:*") == [f"{house.prefix}report:{telling}"]


def test_the_last_word_before_a_crash_is_kept(house: House) -> None:
    house.worker(HANDLERS, pool="process", concurrency=1)
    task_id = house.client.options(retries=0).submit("crash")
    assert house.ended([task_id], 40)[0].reason == "worker_lost"
    assert [text for _, text, _ in lines(house, task_id)] == ["about to go"] * 2  # of the last two runs


@pytest.mark.parametrize("pool", POOLS)
def test_much_is_cut_and_said_so(house: House, pool: str) -> None:
    house.worker(HANDLERS, pool=pool, concurrency=1)
    task_id = house.client.submit("chatter", 3000)
    house.ended([task_id])
    detail = house.views.task(task_id)
    assert detail.log[-1].text == "line 2999"
    assert detail.log_cut + len(detail.log) == 3000
    assert 0 < len(detail.log) <= 200


def test_a_run_whose_thread_was_given_up_keeps_what_it_told(house: House, tmp_path: Path) -> None:
    house.worker(HANDLERS, concurrency=1)
    task_id = house.client.options(timeout=0.2, retries=0).submit("deaf", str(tmp_path))
    assert house.ended([task_id])[0].reason == "timeout"
    assert lines(house, task_id) == [("WARNING", "deaf", 1)]
    (tmp_path / "open").touch()


def test_a_deleted_task_takes_what_it_told_along(house: House) -> None:
    house.worker(HANDLERS, concurrency=1)
    task_id = house.client.submit("stumble")
    house.ended([task_id])
    house.client.delete(task_id)
    assert not house.row_exists("report", task_id)


@pytest.mark.parametrize("pool", POOLS)
def test_a_beat_tells_what_runs_since_when_and_what_it_uses(house: House, tmp_path: Path, pool: str) -> None:
    house.worker(HANDLERS, pool=pool, concurrency=2)
    house.ended(house.client.submit_many([("add", (n, 1)) for n in range(50)]))
    before = house.views.server_time()
    task_id = house.client.submit("tell", str(tmp_path))
    eventually(lambda: house.views.workers()[0].slots, 20)
    (worker,) = house.views.workers()
    (slot,) = worker.slots
    assert slot.task == task_id
    assert before - 1 < slot.since < house.views.server_time() + 1
    assert worker.memory is not None
    assert worker.memory > 20_000_000 * (3 if pool == "process" else 1)
    assert worker.cpu is not None
    assert 0 <= worker.cpu < 50
    eventually(lambda: house.views.workers()[0].done_rate > 0, 10)
    (tmp_path / "open").touch()
