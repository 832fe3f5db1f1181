"""What is never let go of before its task has ended."""

from __future__ import annotations

from typing import Any

import pytest

from tests.model.fleet import Fleet
from tests.model.member import publish
from yadtq.core.yadtq_intake import DETACH_AFTER
from yadtq.core.yadtq_result_db import Reply


@pytest.mark.parametrize("answer", [b"BUSY", b"WAIT"])
def test_a_record_that_only_waits_is_never_let_go_of(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """Nothing stands for it but Kafka."""
    (member,) = fleet.members
    member.do("beat")
    task_id = fleet.client.submit("work", "")
    publish(fleet.client._publisher)
    member.do("poll")
    line = member.worker._store

    def wait(_inc: str, _name: str, items: list[Any], **_others: Any) -> Reply:
        return Reply(member.worker._lease.era or "", line.time_ms(), [answer] * len(items))

    monkeypatch.setattr(line, "claim", wait)
    for _ in range(int(2 * DETACH_AFTER) // 20):
        fleet.pass_time(20_000)
        for part in ("beat", "claim", "poll", "commit"):
            member.do(part)
    assert fleet.log.unread(task_id)
    monkeypatch.undo()
    fleet.pass_time(4_000)
    member.round()
    assert fleet.world.picture().rows[task_id]["status"] == "success"
