"""A record whose row is not there: Redis lost it, or its task ended long ago. Redis notes when it may have lost submits."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.model.fleet import Fleet
from tests.model.member import publish
from tests.model.reference import GAP_MARGIN, RESULT_TTL
from tests.model.world import Copy, World
from yadtq.core.yadtq_result_db import ClaimItem, NewTask
from yadtq.embedded import EmbeddedRedis

LONG = RESULT_TTL + 60_000  # ms; by then a row that ended has had its time
MINUTES = 2 * GAP_MARGIN


@pytest.fixture
def world(redis_server: EmbeddedRedis) -> Iterator[World]:
    """A Redis whose data began long ago."""
    made = World(redis_server.url, f"g{uuid.uuid4().hex[:8]}:")
    answer(made)
    made.pass_time(MINUTES)
    yield made
    made.wipe()
    made.close()
    made.plain.close()


def lose_a_submit(world: World) -> tuple[Copy, int]:
    """What the disk holds of a Redis that has accepted one task more, and when that was."""
    submit(world, "kept")
    disk = world.keep_copy()
    return disk, submit(world, "lost")


def answer(world: World) -> None:
    """Redis is asked for something: the first answer after a restart notes the gap."""
    world.release("w", [], leave=False)


def submit(world: World, task_id: str) -> int:
    """When it was, as the clock of later moments will have it."""
    world.enqueue([NewTask(task_id, "add", "default", b"envelope", "", "1")])
    return world.reply.now + world.passed


def claim(world: World, task_id: str, at: int) -> bytes:
    item = ClaimItem(task_id, 1, f"w:{world.passed}", at - world.passed, b"")
    answer: bytes = world.claim("w", "worker", [item]).items[0]
    return answer.partition(b":")[0]


def end(world: World, task_id: str, at: int) -> None:
    """It runs and succeeds."""
    assert claim(world, task_id, at) == b"RUN"
    world.finish("w", [(task_id, f"w:{world.passed}", "success", "1", "", "", 0, "")])


def test_a_submit_that_redis_lost_is_run_however_late_its_record_is_read(world: World) -> None:
    disk, at = lose_a_submit(world)
    world.go_back(disk)
    answer(world)
    world.pass_time(LONG)
    assert claim(world, "lost", at) == b"LOST"


def test_the_first_answer_may_come_late(world: World) -> None:
    disk, at = lose_a_submit(world)
    world.go_back(disk)
    world.pass_time(LONG)
    assert claim(world, "lost", at) == b"LOST"


def test_what_is_lost_with_the_note_of_a_restart_is_not_forgotten(world: World) -> None:
    disk, at = lose_a_submit(world)
    for _ in range(2):  # the second time before the first one's note was on disk
        world.go_back(disk)
        answer(world)
    world.pass_time(LONG)
    assert claim(world, "lost", at) == b"LOST"


def test_an_old_copy_of_the_data_lacks_all_that_came_after_it(world: World) -> None:
    submit(world, "kept")
    backup = world.keep_copy()
    world.pass_time(LONG)
    at = submit(world, "lost")
    world.pass_time(LONG)
    world.go_back(backup)
    assert claim(world, "lost", at) == b"LOST"


def test_a_record_older_than_the_data_is_run(world: World) -> None:
    at = submit(world, "lost")
    world.wipe()
    answer(world)
    world.pass_time(LONG)
    assert claim(world, "lost", at) == b"LOST"


def test_what_ended_long_ago_is_done(world: World) -> None:
    at = submit(world, "ended")
    end(world, "ended", at)
    world.pass_time(MINUTES)
    submit(world, "later")
    world.restart()  # nothing is lost, and Redis knows a later task
    world.pass_time(LONG)
    assert claim(world, "ended", at) == b"DONE"


def test_a_row_that_is_gone_before_its_time_was_lost(world: World) -> None:
    """Taken by an eviction, or by hand."""
    at = submit(world, "evicted")
    world.plain.delete(world.key("t:", "evicted"))
    world.pass_time(RESULT_TTL - MINUTES)
    assert claim(world, "evicted", at) == b"LOST"


def test_of_many_restarts_none_is_forgotten(world: World) -> None:
    lost = {}
    for number in range(130):
        submit(world, f"kept{number}")
        disk = world.keep_copy()
        lost[f"lost{number}"] = submit(world, f"lost{number}")
        world.go_back(disk)
        answer(world)
        world.pass_time(3 * GAP_MARGIN)
    assert world.plain.zcard(world.key("gaps")) == 100
    world.pass_time(LONG)
    assert {claim(world, task_id, at) for task_id, at in lost.items()} == {b"LOST"}


def test_restarts_without_a_submit_between_them_are_one_gap(world: World) -> None:
    submit(world, "kept")
    for _ in range(5):
        world.restart()
        answer(world)
        world.pass_time(MINUTES)
    assert world.plain.zcard(world.key("gaps")) == 2  # with the one before the data began


def test_a_rebuilt_task_is_in_no_list_of_those_that_ended(world: World) -> None:
    at = submit(world, "again")
    end(world, "again", at)
    world.restart()
    world.pass_time(LONG)
    assert claim(world, "again", at) == b"LOST"
    world.rebuild([("again", 1, "add", "default", at - world.passed, "", b"envelope", "", "1")])
    picture = world.picture()
    assert (picture.index("success"), picture.index("queued")) == (set(), {"again"})


def test_a_task_acknowledged_by_kafka_outlives_the_last_second_and_a_night(fleet: Fleet) -> None:
    task_id = fleet.client.submit("work", "")
    publish(fleet.client._publisher)
    fleet.redis_goes_back()
    fleet.pass_time(LONG)
    (member,) = fleet.members
    for _ in range(3):
        fleet.pass_time(4_000)
        member.round()
    assert fleet.world.picture().rows[task_id]["status"] == "success"
