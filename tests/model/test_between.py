"""Redis goes back between its answer and what the worker makes of it: the answer counts for nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.model.fleet import Fleet
from yadtq.core.yadtq_result_db import Reply


@pytest.mark.parametrize("event", ["redis_goes_back", "redis_is_emptied", "redis_restarts"])
def test_a_run_whose_end_redis_has_forgotten_is_ended_again_and_not_run_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    member, task_id = fleet.begin_one()
    fleet.fsync()  # it runs, says the disk
    member.do("end")
    lease = member.worker._lease
    ask = lease.ask

    def ask_and_lose(call: Callable[[], Reply]) -> Reply:
        monkeypatch.undo()
        reply = ask(call)
        getattr(fleet, event)()
        member.worker._heartbeat.beat()  # another thread hears of it first
        return reply

    monkeypatch.setattr(lease, "ask", ask_and_lose)
    member.do("finish")
    for _ in range(8):
        fleet.pass_time(4_000)
        member.round()
    assert fleet.world.picture().rows[task_id]["status"] == "success"
    assert len(fleet.promises._started) == 1
