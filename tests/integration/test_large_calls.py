"""Many large tasks at once: no call to Redis grows with them, or a slow line could never carry it in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import House
from yadtq.core.yadtq_portions import CALL_BYTES
from yadtq.core.yadtq_result_db import Reply


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    with House(fresh_settings()) as house:
        yield house


def test_large_tasks_are_submitted_claimed_and_finished_in_bounded_calls(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: dict[str, list[int]] = defaultdict(list)
    run = house.store.run

    def noted(move: str, *args: Any) -> Reply:
        calls[move].append(sum(len(arg) for arg in args if isinstance(arg, bytes)))
        return run(move, *args)

    monkeypatch.setattr(house.store, "run", noted)
    large = "x" * 400_000
    ids = house.client.submit_many([("same", (large,))] * 30)
    house.worker({"same": lambda text: text}, concurrency=30)
    assert all(result.result == large for result in house.ended(ids))
    for move in ("enq", "claim", "fin"):
        assert sum(calls[move]) >= 30 * len(large), move
        assert max(calls[move]) < CALL_BYTES + 2 * len(large), move  # the bound, and what began before it was reached
