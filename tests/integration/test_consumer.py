"""Members of the workers' group against a real Kafka."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove

from tests.helpers import House, eventually
from yadtq.core.yadtq_consumer import TaskConsumer
from yadtq.core.yadtq_intake import Intake


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    with House(fresh_settings(partitions=3)) as house:
        yield house


@contextmanager
def polled(consumer: TaskConsumer) -> Iterator[None]:
    """Only a member that is polled joins: one that is not holds up what the group is about to do."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            consumer.poll(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_member_that_lost_its_partitions_does_not_claim_them_when_it_joins_again(house: House) -> None:
    # It would be believed: what it is to have no more, nobody else is given before it has given that up.
    group, topic = house.settings["group_id"], house.broker.topic_of("default")
    every = Counter((topic, number) for number in range(3))

    with ExitStack() as stack:
        admin = KafkaAdminClient(bootstrap_servers=house.settings["kafka_servers"])
        stack.callback(admin.close)
        one, other, new = (
            house.broker.open_consumer([topic], Intake({topic: "default"}, 1.0, lambda: None)) for _ in range(3)
        )
        for consumer in (one, other, new):
            stack.callback(consumer.close)

        def members() -> set[str]:
            return {member["member_id"] for member in admin.describe_groups([group])[group]["members"]}

        def shared(*consumers: TaskConsumer) -> bool:
            """Each has some of the partitions, and each partition is had by one."""
            assigned = [each.assignment() for each in consumers]
            return all(assigned) and sum(map(Counter, assigned), Counter()) == every

        with polled(one):
            eventually(lambda: shared(one), 30)
            (id_of_one,) = members()
            with polled(other):
                eventually(lambda: shared(one, other), 30)
                (id_of_other,) = members() - {id_of_one}
        # Only who has two of three has one too many once there are three members. It is put out, as Kafka does with
        # a worker that was stopped for long, and joins again together with a new one before the last one has heard of it.
        (_, stays), (id_of_lost, lost) = sorted(
            [(id_of_one, one), (id_of_other, other)], key=lambda each: len(each[1].assignment())
        )
        admin.remove_group_members(group, [MemberToRemove(member_id=id_of_lost)])
        with polled(lost):
            eventually(lambda: not lost.assignment(), 30)
            with polled(new):
                eventually(lambda: len(members()) == 3, 30)
                with polled(stays):
                    eventually(lambda: shared(stays, lost, new), 15)
