"""What a worker asserts again to a Redis of another era: its own runs, and none that has no reaper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yadtq import TaskClient, create_yadtq
from yadtq.core.yadtq_codec import parse
from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_lease import Lease
from yadtq.core.yadtq_recovery import Recovery


class Pulse:
    """A heartbeat's message of a worker that holds what the lease says."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def message(self) -> tuple[str, str, list[str]]:
        return "{}", "{}", list(self._lease.held)


def test_only_runs_of_the_present_incarnation_are_asserted_again(fresh_settings: Callable[..., dict[str, Any]]) -> None:
    """A row under a dead incarnation's token is in nobody's running set: its worker's death would lose it."""
    broker, store = create_yadtq(**fresh_settings())
    recovery = Recovery(store, broker, "w", lambda: None, lambda _delivery: None)
    lease = Lease(lambda _settled: None, recovery.new_era)
    recovery.lease, recovery.heartbeat = lease, Pulse(lease)  # type: ignore[assignment]
    client = TaskClient(broker, store)
    ids = client.options(delay=3600).submit_many([("add", (1, 1))] * 2)  # no record is needed

    def running(task_id: str) -> Delivery:
        delivery = Delivery(PartitionState((store.settings.topic, 0), "default"), 0, None, b"", None, 0)
        envelope = store.client.get(store.key("envelope:", task_id))
        delivery.body = broker.codec.unseal(store.settings.topic, envelope)
        delivery.gen, delivery.task = 1, parse(delivery.body)
        delivery.token, delivery.claimed_at = lease.new_token(), 1.0
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
