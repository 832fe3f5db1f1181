"""Scenes in which the guards show: workers that are away or join, a Redis that is emptied or goes back, people who ask."""

from __future__ import annotations

import signal
import time

from tests.faults.oracle import Verdict
from tests.faults.scene import HOUR, Scene, script
from tests.helpers import eventually

# -- beats, the keeper ------------------------------------------------------------------------------------


@script(slots=1, time_scale=0.2)
def all_workers_are_away_and_come_back(scene: Scene) -> Verdict:
    """As on a machine that slept: the one who wakes first must not bury the others."""
    keeper = scene.start(queues=["quiet"])
    worker = scene.start()
    task_id = scene.submit("square", 3, 12.0)
    scene.runs(task_id)
    for each in (keeper, worker):
        each.signal(signal.SIGSTOP)
    time.sleep(7)  # a worker counts as dead after 6 s
    keeper.signal(signal.SIGCONT)
    time.sleep(1)
    worker.signal(signal.SIGCONT)
    return scene.judge_once(within=20)


@script(slots=1)
def redis_is_emptied_and_then_a_worker_dies(scene: Scene) -> Verdict:
    """The new Redis has never heard of it."""
    worker = scene.start_unseen()
    task_id = scene.submit("square", 3, 5.0)
    scene.runs(task_id)
    scene.house.redis.flushall()
    eventually(lambda: scene.house.redis.hget(f"{scene.house.prefix}t:{task_id}", "status") == "processing", 10)
    worker.kill()
    scene.start_unseen(group_id=scene.new_group())
    return scene.judge(within=25)


@script()
def redis_is_emptied_while_a_task_runs(scene: Scene) -> Verdict:
    scene.start()
    task_id = scene.submit("square", 3, 3.0)
    scene.runs(task_id)
    scene.house.redis.flushall()
    return scene.judge_once(within=15)


@script(result_ttl=7200)
def redis_is_emptied_under_an_old_backlog(scene: Scene) -> Verdict:
    """Records of three hours ago that nobody has taken yet: Kafka alone knows of them."""
    task_id = scene.submit_unpublished("square", 3, 0.0)
    scene.send_again(task_id, age=3 * HOUR)
    scene.house.redis.flushall()
    scene.start()
    return scene.judge_once(within=15)


@script(result_ttl=7200)
def a_failover_loses_a_submit(scene: Scene) -> Verdict:
    """Kafka has the record, the replica has no row; and no worker comes for three hours."""
    worker = scene.start()
    first = scene.submit("square", 1, 0.0)
    scene.is_(first, "success")
    worker.signal(signal.SIGTERM)
    worker.wait(20)
    scene.was_submitted(first, ago=4 * HOUR)
    scene.redis.start_replica()
    scene.stop_replication()
    lost = scene.submit_unpublished("square", 2, 0.0)
    scene.send_again(lost, age=3 * HOUR)
    scene.redis.fail_over()
    scene.start()
    return scene.judge(within=15)


@script()
def a_row_is_evicted(scene: Scene) -> Verdict:
    """By a Redis with the wrong policy; Kafka has the record."""
    task_id = scene.submit("square", 2, 0.0)
    scene.published()
    scene.was_submitted(task_id, ago=4 * HOUR)
    scene.forget(task_id)
    scene.start()
    return scene.judge(within=15)


@script(result_ttl=7200)
def a_record_comes_again_after_its_row_has_gone(scene: Scene) -> Verdict:
    """The task ended, and its row's time is over."""
    scene.start()
    task_id = scene.submit("square", 3, 0.0)
    scene.is_(task_id, "success")
    eventually(lambda: task_id in scene.ended_at)
    scene.was_submitted(task_id, ago=4 * HOUR)
    scene.forget(task_id)
    scene.send_again(task_id, age=3 * HOUR)
    scene.is_(scene.submit("square", 4, 0.0), "success")
    time.sleep(1)
    return scene.judge_once(within=10)


@script()
def redis_comes_back_late_without_the_end_of_a_run(scene: Scene) -> Verdict:
    """By its row the task runs, and its worker has not held it for a while."""
    scene.start()
    task_id = scene.submit("square", 3, 1.0)
    scene.runs(task_id)
    scene.redis.stop_syncing()
    eventually(lambda: task_id in scene.ended_at)
    scene.redis.crash()
    time.sleep(3)  # what is not held is given back after 1.5 s
    scene.redis.primary.start()
    return scene.judge_once(within=15)


# -- rebalances, people -----------------------------------------------------------------------------------


@script(slots=1)
def a_worker_joins_while_tasks_wait(scene: Scene) -> Verdict:
    """The first worker keeps some of its partitions, with what it has received from them."""
    scene.start()
    for number in range(80):
        scene.submit("square", number, 0.1)
    scene.wait_for_done(3, 20)
    scene.start()
    return scene.judge(within=20)


@script(slots=8, partitions=2)
def a_worker_joins_while_a_long_task_runs(scene: Scene) -> Verdict:
    """Each partition has a task that runs; new ones must not wait for them."""
    scene.start()
    parts: set[int] = set()
    while len(parts) < 2:
        task_id = scene.submit("square", 2, 15.0)
        scene.runs(task_id)
        parts.add(eventually(lambda task_id=task_id: scene.coordinates(task_id))[0])
    scene.start()
    time.sleep(3)
    scene.end_in_time([scene.submit("square", number, 0.0) for number in range(20)], 6)
    return scene.judge_once(within=20)


@script(allows=("two_outcomes",))
def a_person_retries_a_cancelled_and_an_expired_task(scene: Scene) -> Verdict:
    expired = scene.submit("square", 3, 0.0, expires=0.5)
    with scene.client_process() as client:
        scene.start(queues=["quiet"])
        scene.is_(expired, "expired")
        scene.start()
        cancelled = scene.submit("square", 4, 2.0)
        scene.is_(cancelled, "processing")
        assert client.call("cancel", cancelled) == "processing"
        scene.is_(cancelled, "cancelled")
        for task_id in (expired, cancelled):
            assert client.call("retry", task_id) == "queued"
    return scene.judge(within=15)
