"""The eager client for users' tests behaves as the real one does, in place."""

from __future__ import annotations

from typing import Any

import pytest

from yadtq import DoNotRetry, TaskNotFound, TaskNotSerializable, task
from yadtq.testing import EagerClient


def pair(a: int, b: tuple[int, ...] = ()) -> list[Any]:
    return [a, b]


@task(retries=2)
def flaky(until: int, ctx: Any) -> int:
    if ctx.attempt < until:
        raise ValueError("not yet")
    return int(ctx.fence)


def refuse() -> None:
    raise DoNotRetry("division by zero")


@pytest.fixture
def client() -> EagerClient:
    return EagerClient({"pair": pair, "flaky": flaky, "refuse": refuse})


def test_a_task_runs_at_once_and_its_values_go_through_json(client: EagerClient) -> None:
    result = client.wait_for_result(client.submit("pair", 1, b=(2, 3)), timeout=1)
    assert (result.status, result.result, result.args_preview) == ("success", [1, [2, 3]], "1, b=[2,3]")


@pytest.mark.parametrize(("until", "status", "attempts"), [(1, "success", 1), (3, "success", 3), (9, "failed", 3)])
def test_retries_follow_at_once(client: EagerClient, until: int, status: str, attempts: int) -> None:
    result = client.get_result(client.submit("flaky", until))
    assert (result.status, result.attempts) == (status, attempts)


def test_failures_carry_reason_and_error(client: EagerClient) -> None:
    ids = client.submit_many([("refuse", ()), ("pair", (), {"c": 1}), ("nobody", ())])
    refused, misfit, unknown = (client.get_result(task_id) for task_id in ids)
    assert (refused.reason, refused.error, refused.attempts) == ("error", "division by zero", 1)
    assert misfit.reason == "rejected"
    assert unknown.reason == "unknown_task"


def test_bad_calls_raise_as_for_real(client: EagerClient) -> None:
    with pytest.raises(TaskNotSerializable, match="argument 1 of pair"):
        client.submit("pair", {1})
    with pytest.raises(TaskNotFound):
        client.get_result("feed")
