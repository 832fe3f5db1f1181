"""durable=True: a submit returns once its own write is on disk; what the disk has not confirmed is uncertain and named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.helpers import House, eventually, new_settings
from yadtq import SubmitUncertain, TaskStatus
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

IN_TIME = 5.5  # seconds; five are promised, the rest is for a busy machine


@pytest.fixture
def house(kafka: EmbeddedKafka, own_redis: EmbeddedRedis) -> Iterator[House]:
    own_redis.start()
    with House(new_settings(kafka, own_redis, durable=True)) as house:
        yield house


@pytest.fixture
def unwritten(house: House, own_redis: EmbeddedRedis) -> Iterator[House]:
    """Nothing of what is submitted gets to the disk."""
    house.client.submit("add", 0, 0)  # all before is on disk, so none of it is awaited
    house.redis.config_set("appendfsync", "no")
    yield house
    own_redis.start()
    house.redis.config_set("appendfsync", "everysec")


def uncertain(house: House, key: str | None = None) -> SubmitUncertain:
    begun = time.monotonic()
    with pytest.raises(SubmitUncertain) as caught:
        house.client.options(key=key).submit("add", 1, 2)
    assert time.monotonic() - begun < IN_TIME
    return caught.value


def test_a_durable_submit_returns_once_it_is_on_disk(house: House) -> None:
    ids = house.client.submit_many([("add", (number, 1)) for number in range(300)])
    assert {result.status for result in house.results(ids)} == {TaskStatus.QUEUED}


def test_what_is_not_on_disk_in_time_is_uncertain_and_names_its_id(unwritten: House) -> None:
    error = uncertain(unwritten)
    assert f"it accepted task {error.task_id}, and would lose that in a crash now" in str(error)
    assert "has not written to disk within 1.5 s" in str(error)
    assert unwritten.client.get_result(error.task_id).status == TaskStatus.QUEUED


def test_of_several_not_on_disk_in_time_all_are_named(unwritten: House) -> None:
    with pytest.raises(SubmitUncertain) as caught:
        unwritten.client.submit_many([("add", (number, 1)) for number in range(3)])
    assert f"task {caught.value.task_id} and 2 more" in str(caught.value)
    assert len(set(caught.value.task_ids)) == 3
    assert {result.status for result in unwritten.results(caught.value.task_ids)} == {TaskStatus.QUEUED}


def test_no_submit_returns_for_what_another_connection_wrote(unwritten: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads take each other's connections, and Redis answers for each connection alone."""
    pool = unwritten.store._pool
    get = pool.get_connection

    def get_after_another_thread() -> object:
        taken = get()  # the one that was released last
        try:
            return get()
        finally:
            pool.release(taken)

    monkeypatch.setattr(pool, "get_connection", get_after_another_thread)
    with ThreadPoolExecutor(8) as threads:
        errors = list(threads.map(lambda _: uncertain(unwritten), range(8)))
    ids = [error.task_id for error in errors]
    assert len(set(ids)) == 8
    assert {result.status for result in unwritten.results(ids)} == {TaskStatus.QUEUED}


def test_a_repeat_with_the_same_key_waits_for_the_first_ones_write(unwritten: House) -> None:
    """It writes nothing, over a connection that may have written nothing."""
    first = uncertain(unwritten, "once")
    unwritten.store.close()
    assert uncertain(unwritten, "once").task_id == first.task_id
    unwritten.redis.config_set("appendfsync", "everysec")
    assert unwritten.client.options(key="once").submit("add", 1, 2) == first.task_id


def test_redis_killed_before_it_had_written_leaves_the_submit_uncertain(
    unwritten: House, own_redis: EmbeddedRedis
) -> None:
    with ThreadPoolExecutor(1) as threads:
        submit = threads.submit(uncertain, unwritten)
        eventually(lambda: len(unwritten.redis.keys(f"{unwritten.prefix}t:*")) == 2)
        own_redis.kill()
        error = submit.result(IN_TIME)
    assert "cannot be reached" in str(error)
    assert f"it accepted task {error.task_id}" in str(error)


def test_a_redis_without_a_file_is_named_with_the_remedy(house: House) -> None:
    house.redis.config_set("appendonly", "no")
    try:
        error = uncertain(house)
    finally:
        house.redis.config_set("appendonly", "yes")
        # While it writes its first file it does not end when it is told to.
        eventually(lambda: not house.redis.info("persistence")["aof_rewrite_in_progress"])
    assert "durable=True needs Redis 7.2 or newer, with appendonly yes" in str(error)
    assert house.client.get_result(error.task_id).status == TaskStatus.QUEUED
