"""Many tasks at once: by their ids, or all that match a search; safe against a second submit, and resumed by anyone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from tests.helpers import House, eventually
from tests.integration.stored import end, end_as, submit
from tests.model.world import World
from yadtq import ConfigError, IllegalMove, TaskClient, TaskNotFound
from yadtq.api import yadtq_bulk
from yadtq.api.yadtq_bulk import BulkJobs
from yadtq.api.yadtq_factory import create_yadtq
from yadtq.core.yadtq_result_db import ClaimItem
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import Views, parse_query
from yadtq.errors import InvalidQuery


@pytest.fixture
def client(world: World) -> Iterator[TaskClient]:
    broker, _ = create_yadtq(kafka_servers=["localhost:1"])
    with TaskClient(broker, world) as made:
        yield made
    broker.close()


@pytest.fixture
def jobs(client: TaskClient, world: World) -> BulkJobs:
    return BulkJobs(client, world)


def failed(world: World, count: int, error: str = "ValueError: no") -> list[str]:
    ids = [f"f{number:03}" for number in range(count)]
    for start in range(0, count, 50):
        submit(world, *ids[start : start + 50])
        end(world, *ids[start : start + 50], error=error)
    return ids


def test_many_are_moved_and_each_refusal_says_why(world: World, client: TaskClient) -> None:
    ids = failed(world, 3)
    submit(world, "waits", "ended")
    end(world, "ended", kind="success", error="1")
    outcome = client.retry_many([*ids, ids[0], "ended", "unknown"], by="ann")
    assert outcome.done == ids
    assert outcome.refused == {
        "ended": "it is success",
        "unknown": "there is no such task, or its result has passed its time to live",
    }
    assert client.retry_many(ids).done == ids  # again: nothing more happens
    assert {row["gen"] for row in world.picture().rows.values() if row["status"] == "queued"} == {"1", "2"}
    assert client.cancel_many([*ids, "waits", "ended"]).refused == {"ended": "it is success"}
    assert client.cancel_many([*ids, "waits"]).done == [*ids, "waits"]
    assert client.delete_many([*ids, "waits", "ended"]).done == [*ids, "waits", "ended"]
    assert client.delete_many(ids).done == ids
    assert Views(world).tasks().items == []
    assert json.dumps(asdict(outcome))


def test_many_are_one_call_per_two_hundred(world: World, client: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = failed(world, 450)
    calls: list[str] = []
    run = world.run
    monkeypatch.setattr(world, "run", lambda move, *args: (calls.append(move), run(move, *args))[1])
    assert len(client.retry_many(ids).done) == 450
    assert calls == ["retry"] * 3


def test_a_deleted_task_is_gone_for_its_client(world: World, client: TaskClient) -> None:
    submit(world, "a", "b")
    client.delete("a", by="ann")
    for ask in (client.get_result, client.cancel, client.retry):
        with pytest.raises(TaskNotFound):
            ask("a")
    client.delete("a")  # again is fine
    with pytest.raises(TaskNotFound):
        client.delete("unknown")
    world.claim("w", "box", [yt_claim(world, "b")])
    with pytest.raises(IllegalMove, match="asked to stop"):
        client.delete("b")
    assert client.get_result("b").cancel_requested


def yt_claim(world: World, task_id: str) -> Any:
    from yadtq.core.yadtq_result_db import ClaimItem  # noqa: PLC0415

    return ClaimItem(task_id, 1, "w:1", world.time_ms(), b"")


def test_a_job_takes_all_that_match_in_steps(world: World, jobs: BulkJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yadtq_bulk, "BATCH", 40)
    ids = failed(world, 100)
    submit(world, "other")
    end_as(world, ("other", "w:9", "failed", "OSError: full", "", "error", 0, ""))
    job = jobs.start("status:failed error:valueerror", "retry", by="ann", form_key="k1")
    assert (job.total, job.done, job.finished) == (101, 0, False)
    seen = []
    while not job.finished:
        job = jobs.step(job.id)
        seen.append(job.done)
    assert seen[0] == 40
    assert seen[-1] == 100
    assert (job.failed, job.scanned) == (0, 101)
    assert jobs.step(job.id) == job  # done is done
    rows = world.picture().rows
    assert {rows[task_id]["status"] for task_id in ids} == {"queued"}
    assert rows["other"]["status"] == "failed"
    assert json.dumps(asdict(job))


def test_the_same_form_is_one_job(world: World, jobs: BulkJobs) -> None:
    failed(world, 3)
    first = jobs.start("status:failed", "retry", by="ann", form_key="k")
    done = jobs.step(first.id)
    assert done.done == 3
    assert jobs.start("status:failed", "retry", by="ann", form_key="k") == done
    assert jobs.start("status:failed", "retry", by="bob", form_key="k").id != first.id


def test_a_job_leaves_alone_what_fails_after_its_start(world: World, jobs: BulkJobs) -> None:
    failed(world, 3)
    job = jobs.start("status:failed", "retry", by="ann", form_key="k")
    submit(world, "later")
    end(world, "later")
    job = jobs.step(job.id)
    assert (job.done, job.finished) == (3, True)
    assert world.picture().rows["later"]["status"] == "failed"


def test_two_who_step_at_once_do_not_do_it_twice(world: World, jobs: BulkJobs) -> None:
    failed(world, 3)
    job = jobs.start("status:failed", "delete", by="ann", form_key="k")
    lock = world.client.lock(world.key("joblock:", job.id), timeout=30)
    assert lock.acquire()
    assert jobs.step(job.id) == job
    lock.release()
    assert jobs.step(job.id).done == 3


def test_a_whole_group_is_replayed(world: World, jobs: BulkJobs) -> None:
    failed(world, 5)
    (group,) = Views(world).failure_groups()
    job = jobs.start(f"group:{group.fingerprint}", "retry", by="ann", form_key="k")
    assert job.total == 5
    assert job.about == "add: ValueError: no"
    assert jobs.step(job.id).done == 5
    assert Views(world).failure_groups() == []


def test_a_retry_tells_what_became_of_its_tasks(world: World, jobs: BulkJobs) -> None:
    failed(world, 6)
    job = jobs.start("status:failed", "retry", by="ann", form_key="k")
    jobs.step(job.id)
    submit(world, "other")
    again = [task.id for task in Views(world).tasks(TaskStatus.QUEUED).items if task.id != "other"]
    runs = [(one, f"w:{n}") for n, one in enumerate(again[:3], 100)]
    world.claim("w", "box-1", [ClaimItem(one, 2, token, world.time_ms(), b"") for one, token in runs])
    world.finish("w", [(one, token, "success", "1", "", "", 0, "") for one, token in runs])
    world.cancel_many([again[3]], world.time_ms() + 1)
    world.delete_many([again[4]])

    views = Views(world)
    became = views.came_of(job.id)
    shown = views.search(parse_query(f"job:{job.id} status:success")).items

    assert became == {TaskStatus.QUEUED: 1, TaskStatus.SUCCESS: 3, TaskStatus.CANCELLED: 1}
    assert {task.id for task in shown} == set(again[:3])
    assert {task.id for task in views.search(parse_query(f"job:{job.id}")).items} == set(again) - {again[4]}
    assert 0 < world.plain.ttl(world.key("jobtasks:", job.id)) <= 86_400


def test_a_retry_notes_so_many_tasks_at_most(world: World, jobs: BulkJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yadtq.api.yadtq_bulk.MOST_NOTED", 4)
    failed(world, 6)
    job = jobs.start("status:failed", "retry", by="ann", form_key="k")
    jobs.step(job.id)
    assert Views(world).came_of(job.id) == {TaskStatus.QUEUED: 4}


def test_a_job_that_cannot_be_is_refused(jobs: BulkJobs) -> None:
    with pytest.raises(ConfigError, match="there is no bulk action 'drop'"):
        jobs.start("status:failed", "drop", by="ann", form_key="k")
    with pytest.raises(InvalidQuery):
        jobs.start("status:done", "retry", by="ann", form_key="k")
    with pytest.raises(TaskNotFound):
        jobs.step("unknown")


def test_a_task_is_submitted_again_with_other_arguments(fresh_settings: Callable[..., dict[str, Any]]) -> None:
    def divide(a: int, b: int) -> float:
        return a / b

    with House(fresh_settings()) as house:
        house.worker({"divide": divide})
        old = house.client.options(retries=0, timeout=30).submit("divide", 6, 0)
        assert house.ended([old])[0].status == "failed"
        new = house.client.resubmit(old, args=[6, 3], by="ann", key="form-1")
        assert house.client.resubmit(old, args=[6, 3], by="ann", key="form-1") == new
        assert house.ended([new])[0].result == 2
        (first, *_), (came, *_) = house.views.task(old).actions, house.views.task(new).actions
        assert (first.action, first.by, first.task) == ("resubmit", "ann", new)
        assert (came.action, came.by, came.task) == ("resubmitted", "ann", old)
        same = house.client.resubmit(old)
        assert eventually(lambda: house.client.get_result(same).done)
        assert house.views.task(same).args == [6, 0]
        assert house.views.task(same).options == {"retries": 0, "timeout": 30}
        with pytest.raises(TaskNotFound):
            house.client.resubmit("unknown", [1])


def test_arguments_that_only_kafka_has_are_read_from_there(fresh_settings: Callable[..., dict[str, Any]]) -> None:
    with House(fresh_settings()) as house:
        big = "x" * 5000
        ids = house.client.submit_many([("echo", (big,))] * 3)
        eventually(lambda: house.views.outbox_size() == 0)
        assert house.client.cancel_many(ids, by="ann").done == ids
        assert not house.row_exists("envelope", ids[0])
        new = house.client.resubmit(ids[0])
        assert house.client.retry_many(ids[1:], by="ann").done == ids[1:]
        assert house.views.task(ids[1]).args == [big]
        assert [action.action for action in house.views.task(ids[1]).actions] == ["cancel", "retry"]
        assert house.client.get_result(new).name == "echo"
