"""What a worker tells a Redis that has gone back, while that one may go away again."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from yadtq.core.yadtq_codec import Codec
from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_lease import Abandoned, Lease
from yadtq.core.yadtq_recovery import Recovery
from yadtq.core.yadtq_result_db import ClaimItem, Reply
from yadtq.core.yadtq_task import Task
from yadtq.errors import ResultStoreUnavailable


class Redis:
    """Answers from the era e2, or not at all."""

    def __init__(self) -> None:
        self.away = False
        self.told: list[str] = []

    def beat(self, _inc: str, *_message: object) -> Reply:
        if self.away:
            raise ResultStoreUnavailable("Redis at h:1 cannot be reached")
        return Reply("e2", 0, [b"OK"])

    def claim(self, _inc: str, _worker: str, items: list[ClaimItem], *, reasserts: bool) -> Reply:
        assert reasserts
        self.told += [item.id for item in items]
        return Reply("e2", 0, [b"RUN:1:1"] * len(items))


def test_a_worker_that_ends_while_redis_is_away_tells_it_all_the_same_when_it_answers_once_more() -> None:
    redis, finish_again = Redis(), Mock()
    lease = Lease(Mock(), Mock())
    parts: list[Any] = [redis, Mock(codec=Codec([], required=False)), "w", Mock(), finish_again]
    recovery = Recovery(*parts)
    recovery.lease, recovery.heartbeat = lease, Mock(message=lambda: ("", "", []))
    lease.era = "e1"
    ended = Delivery(PartitionState(("tasks", 0), "default"), 0, None, b"{}", None, 0)
    ended.task, ended.token = Task("t1", "add", (), {}), lease.new_token()
    lease.finished([ended], "e1")
    lease.abandon.set()
    redis.away = True
    with pytest.raises(Abandoned):
        recovery.new_era("e2")
    redis.away = False
    recovery.new_era("e2")  # as the worker takes leave
    assert redis.told == ["t1"]
    finish_again.assert_called_once_with(ended)
