"""What a worker asserts again to a Redis of another era: its own runs, and none that has no reaper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from yadtq import TaskClient, create_yadtq
from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_codec import parse
from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_recovery import Recovery
from yadtq.core.yadtq_result_db import Reply, ResultStore
from yadtq.embedded import EmbeddedRedis


class Pulse:
    """A heartbeat's message of a worker that holds what the lease says."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def message(self) -> tuple[str, str, list[str]]:
        return "{}", "{}", list(self._lease.held)


def claimed(broker: Broker, store: ResultStore, lease: Lease, task_id: str) -> Delivery:
    """A task as its worker knows it after the claim."""
    delivery = Delivery(PartitionState((store.settings.topic, 0), "default"), 0, None, b"", None, 0)
    delivery.body = broker.codec.unseal(store.settings.topic, store.client.get(store.key("envelope:", task_id)))
    delivery.gen, delivery.task = 1, parse(delivery.body)
    delivery.token, delivery.claimed_at = lease.new_token(), 1.0
    return delivery


def recovering(broker: Broker, store: ResultStore, finish_again: Callable[[Delivery], None]) -> tuple[Recovery, Lease]:
    """What a worker has for a Redis of another era, without the worker."""
    recovery = Recovery(store, broker, "w", lambda: None, finish_again)
    lease = Lease(lambda _settled: None, recovery.new_era)
    recovery.lease, recovery.heartbeat = lease, Pulse(lease)  # type: ignore[assignment]
    return recovery, lease


def test_only_runs_of_the_present_incarnation_are_asserted_again(fresh_settings: Callable[..., dict[str, Any]]) -> None:
    """A row under a dead incarnation's token is in nobody's running set: its worker's death would lose it."""
    broker, store = create_yadtq(**fresh_settings())
    recovery, lease = recovering(broker, store, lambda _delivery: None)
    client = TaskClient(broker, store)
    ids = client.options(delay=3600).submit_many([("add", (1, 1))] * 2)  # no record is needed

    def running(task_id: str) -> Delivery:
        delivery = claimed(broker, store, lease, task_id)
        lease.held[delivery.token] = delivery
        return delivery

    running(ids[0])
    lease.renew()
    own = running(ids[1])
    lease.era = "an earlier one"
    recovery.new_era(store.run("audit", 1, 1).era)

    dead_one, own_one = client.get_result(ids[0]), client.get_result(ids[1])
    assert (dead_one.status, own_one.status) == ("scheduled", "processing")
    assert store.client.smembers(store.key("run:", lease.inc)) == {ids[1].encode()}
    assert own.token in lease.held


def test_of_a_task_that_was_retried_only_the_newest_run_is_told_again(
    fresh_settings: Callable[..., dict[str, Any]], own_redis: EmbeddedRedis
) -> None:
    """The first one would have it retried, and run, once more."""
    broker, store = create_yadtq(**fresh_settings(redis_url=own_redis.url))
    finished_again: list[Delivery] = []
    recovery, lease = recovering(broker, store, finished_again.append)
    task_id = TaskClient(broker, store).options(delay=3600).submit("add", 1, 1)  # no record is needed
    reply = lease.believe(store.run("audit", 1, 1), 0.0)
    runs = [claimed(broker, store, lease, task_id) for _ in range(2)]
    runs[1].gen = 2
    for run in runs:
        lease.finished([run], reply.era)
    store.client.flushall()
    recovery.new_era(store.run("audit", 1, 1).era)
    assert finished_again == [runs[1]]
    assert store.client.hget(store.key("t:", task_id), "gen") == b"2"


def test_what_has_just_finished_is_asserted_though_redis_restarts_twice(
    fresh_settings: Callable[..., dict[str, Any]], own_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second restart comes between the beat and the claim."""
    broker, store = create_yadtq(**fresh_settings(redis_url=own_redis.url))
    finished_again: list[Delivery] = []
    recovery, lease = recovering(broker, store, finished_again.append)
    task_id = TaskClient(broker, store).options(delay=3600).submit("add", 1, 1)  # no record is needed
    reply = lease.believe(store.run("audit", 1, 1), 0.0)
    done = claimed(broker, store, lease, task_id)
    lease.finished([done], reply.era)

    def restart() -> None:
        own_redis.kill()
        own_redis.start()

    claim = store.claim

    def restart_before(*args: Any, **options: Any) -> Reply:
        monkeypatch.setattr(store, "claim", claim)
        restart()
        store.close()
        return claim(*args, **options)

    restart()
    store.close()
    monkeypatch.setattr(store, "claim", restart_before)
    era = store.run("audit", 1, 1).era
    recovery.new_era(era)
    assert lease.era != era  # it did change twice
    assert finished_again == [done]
    assert TaskClient(broker, store).get_result(task_id).status == "processing"
