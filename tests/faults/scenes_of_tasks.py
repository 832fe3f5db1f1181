"""Scenes in which the guards show: what becomes of one task, its record and its row."""

from __future__ import annotations

import signal
import time

from tests.faults.oracle import Verdict
from tests.faults.proxy import HALF_OPEN, PASS, Weather
from tests.faults.scene import Scene, script
from tests.helpers import eventually
from yadtq.core.yadtq_task import Task

SIGNED = {"signing_keys": ["k1:a-secret-of-the-workers"]}


# -- what is committed ---------------------------------------------------------------------------------


@script(slots=1, partitions=1)
def a_worker_stops_while_tasks_wait(scene: Scene) -> Verdict:
    """What it has received and not begun belongs to the next worker."""
    worker = scene.start()
    for number in range(12):
        scene.submit("square", number, 0.4)
    scene.wait_for_done(2, 20)
    worker.signal(signal.SIGTERM)
    worker.wait(20)
    scene.start()
    return scene.judge_once(within=15)


@script(slots=1, allows=("two_outcomes",), partitions=1)
def a_failover_loses_the_last_second(scene: Scene) -> Verdict:
    """The replica lags; what the old primary confirmed in that second is not so any more."""
    worker = scene.start()
    scene.redis.start_replica()
    blocker = scene.submit("square", 0, 2.0)
    ids = [scene.submit("square", number, 0.0) for number in range(1, 6)]
    scene.is_(blocker, "processing")
    scene.published()
    scene.stop_replication()
    eventually(lambda: all(task_id in scene.ended_at for task_id in ids), 10)
    time.sleep(1.5)  # a commit comes twice a second; the disk is written to once a second
    worker.kill()
    scene.redis.fail_over()
    scene.start()
    return scene.judge(within=25)


@script(slots=2, allows=("two_outcomes",), partitions=1)
def a_failover_loses_eight_seconds(scene: Scene) -> Verdict:
    """What the worker ended so long ago it asserts no more, and the replica thinks that it still runs."""
    scene.start()
    scene.redis.start_replica()
    task_id = scene.submit("square", 1, 2.0)
    scene.is_(task_id, "processing")
    scene.published()
    scene.stop_replication()
    eventually(lambda: task_id in scene.ended_at, 10)
    time.sleep(7)  # a worker remembers what it finished for 5 s
    scene.redis.fail_over()
    return scene.judge(within=12)


# -- claims --------------------------------------------------------------------------------------------


@script(slots=4, time_scale=1.0)
def a_worker_is_declared_dead_while_it_claims(scene: Scene) -> Verdict:
    """It hears so in the middle of its work, with a batch in its hand."""
    worker = scene.start()
    for number in range(600):
        scene.submit("square", number, 0.02)
    scene.wait_for_done(30, 20)
    scene.declare_dead(worker)
    return scene.judge(within=12)


@script(time_scale=1.0)
def a_claims_answer_is_lost(scene: Scene) -> Verdict:
    """Redis has given the task to the worker, which does not hear of it."""
    scene.start()
    scene.submit("square", 0, 0.0)
    scene.wait_for_done(1, 20)
    scene.redis.workers_link.set(HALF_OPEN)
    task_id = scene.submit("square", 1, 0.0)
    scene.is_(task_id, "processing")
    scene.redis.workers_link.cut()
    scene.redis.workers_link.set(PASS)
    scene.end_in_time([task_id], 8)
    return scene.judge_once(within=25)


@script()
def a_record_comes_twice_while_its_task_runs(scene: Scene) -> Verdict:
    scene.start()
    task_id = scene.submit("square", 3, 4.0)
    scene.runs(task_id)
    scene.send_again(task_id)
    return scene.judge_once(within=15)


@script()
def a_record_comes_again_after_its_task_has_ended(scene: Scene) -> Verdict:
    scene.start()
    task_id = scene.submit("square", 3, 0.0)
    eventually(lambda: task_id in scene.ended_at, 20)
    scene.send_again(task_id)
    later = scene.submit("square", 4, 0.0)
    scene.is_(later, "success")
    time.sleep(1)
    return scene.judge_once(within=10)


@script()
def a_running_task_passes_its_expiry(scene: Scene) -> Verdict:
    """And its record comes again: to start it would be too late, to end it is not."""
    scene.start()
    task_id = scene.submit("square", 3, 4.0, expires=1.5)
    begun_at = scene.is_(task_id, "processing").started_at
    eventually(lambda: time.time() > begun_at + 2)
    scene.send_again(task_id)
    return scene.judge_once(within=15)


@script(slots=4, partitions=1)
def innocents_run_beside_a_poison_task(scene: Scene) -> Verdict:
    """All four die with two workers; from then on each has to show by itself."""
    scene.start(queues=["quiet"])  # keeps house
    ids = [scene.submit("square", number, 0.5) for number in range(3)] + [scene.submit("poison", "exit")]
    scene.published()
    for deaths in (1, 2):
        worker = scene.start_unseen(group_id=scene.new_group())
        assert worker.wait(30) == 9
        eventually(lambda deaths=deaths: {r.lost for r in scene.house.results(ids)} == {deaths}, 20)
        eventually(lambda: all(r.status == "queued" for r in scene.house.results(ids)), 20)
        scene.published()
    while not all(result.done for result in scene.house.results(ids)):
        worker = scene.start_unseen(group_id=scene.new_group())
        eventually(lambda worker=worker: not worker.running or all(r.done for r in scene.house.results(ids)), 40)
        if not worker.running:
            worker.wait(1)
        eventually(lambda: not any(r.status == "processing" for r in scene.house.results(ids)), 20)
    return scene.judge(within=10)


@script()
def a_big_task_is_retried(scene: Scene) -> Verdict:
    """Its arguments were only in Kafka when it was claimed."""
    task_id = scene.submit("flaky", 3, "x" * 5000)
    eventually(lambda: not scene.house.row_exists("envelope", task_id), 20)
    scene.start()
    return scene.judge(within=20)


# -- finishes, publications ------------------------------------------------------------------------------


@script(slots=2, time_scale=1.0)
def a_task_is_moved_on_while_its_worker_still_runs_it(scene: Scene) -> Verdict:
    """Two runs of it are under way; the later one is the one that counts."""
    worker = scene.start()
    task_id = scene.submit("square", 5, 4.0)
    scene.runs(task_id)
    scene.declare_dead(worker)
    scene.runs(task_id, 2)
    assert len([run for run in scene.runs_of(task_id) if run.ended_at is None]) == 2, "they did not overlap"
    return scene.judge(within=20)


@script(slots=1, partitions=1, time_scale=1.0)
def an_acknowledgement_comes_after_the_next_publication(scene: Scene) -> Verdict:
    """The client is slow; meanwhile its task was claimed, and its worker died."""
    worker = scene.start()
    with scene.client_process() as client:
        warm = client.call("submit", "square", 1, 0.0)
        scene.is_(warm, "success")
        scene.promise(warm, "square", 1, 0.0)
        scene.redis.clients_link.set(Weather(delay=0.9))
        task_id = client.call("submit", "square", 2, 3.0)
        scene.promise(task_id, "square", 2, 3.0)
        with scene.redis.connection() as redis:
            row = f"{scene.house.prefix}t:{task_id}"
            eventually(lambda: redis.hget(row, "status") == "processing", 10)
            scene.redis.clients_link.set(Weather(requests_pass=False))
            worker.kill()
            scene.declare_dead(worker)
            assert redis.hmget(row, "gen", "part") == ["2", None], "the acknowledgement was early"
        scene.redis.clients_link.set(PASS)
    scene.start(group_id=scene.new_group())
    return scene.judge(within=12)


@script()
def a_client_reaches_redis_and_not_kafka(scene: Scene) -> Verdict:
    """Nobody but a keeper can publish what it was promised."""
    scene.start()
    for number in range(5):
        scene.submit_unpublished("square", number, 0.0)
    return scene.judge_once(within=12)


@script(**SIGNED)
def an_envelope_is_forged_in_redis(scene: Scene) -> Verdict:
    """By somebody who can write to Redis, and does not have the key: a keeper would sign it for them."""
    scene.start()
    real = scene.submit_unpublished("square", 3, 0.0)
    topic, prefix, redis = scene.house.broker.topic_of("default"), scene.house.prefix, scene.house.redis
    forged = Task("forged", "square", (9, 0.0), {})
    header = scene.house.broker.codec.seal(topic, b"other").partition(b"\n")[0]
    redis.copy(f"{prefix}t:{real}", f"{prefix}t:forged")
    redis.set(f"{prefix}envelope:forged", header + b"\n" + scene.house.broker.codec.pack(forged))
    redis.zadd(f"{prefix}outbox", {"forged": 0})
    scene.is_(real, "success")
    time.sleep(1)
    return scene.judge(within=10)
