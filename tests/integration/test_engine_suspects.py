"""Tasks whose workers died twice: each runs alone in its worker, and a crowd of them does not hold it up."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.helpers import House


class Room:
    """A task that stays for a moment, and how many were there at most while each number was."""

    def __init__(self) -> None:
        self.company: Counter[int] = Counter()
        self._present: set[int] = set()
        self._lock = threading.Lock()

    def meet(self, number: int) -> int:
        with self._lock:
            self._present.add(number)
            for other in self._present:
                self.company[other] = max(self.company[other], len(self._present))
        threading.Event().wait(0.01)
        with self._lock:
            self._present.discard(number)
        return number


def test_suspects_run_alone_one_right_after_the_other(fresh_settings: Callable[..., dict[str, Any]]) -> None:
    """A worker that dies amid quick tasks leaves many suspects, nearly all of them innocent."""
    room = Room()
    with House(fresh_settings(time_scale=0.1, partitions=1)) as house:
        ids = house.client.submit_many([("meet", (number,)) for number in range(80)])
        for task_id in ids[10:50]:
            house.redis.hset(f"{house.prefix}t:{task_id}", "lost", 2)
        house.worker({"meet": room.meet}, concurrency=4)
        begun_at = time.monotonic()
        results = house.ended(ids, timeout=30)
    assert time.monotonic() - begun_at < 15  # asked again every two seconds, forty would take more than a minute
    assert [result.result for result in results] == list(range(80))
    assert {room.company[number] for number in range(10, 50)} == {1}
    assert max(room.company.values()) > 1
