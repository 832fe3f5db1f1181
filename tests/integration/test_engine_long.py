"""Long tasks among thousands of short ones while partitions move every few seconds: once each, and in nobody's way."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import Crowd, House, eventually
from yadtq import TaskStatus
from yadtq.core import yadtq_intake
from yadtq.core.yadtq_ahead import Pace

DETACH_AFTER = 4.0  # seconds in these tests; a run is long when it lasts several times that
PARTITIONS = 4


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(yadtq_intake, "DETACH_AFTER", DETACH_AFTER / 0.1)
    with House(fresh_settings(time_scale=0.1, partitions=PARTITIONS)) as house:
        yield house


class Shorts:
    """Counts the runs of short tasks; list.append is all they do, so that no lock is waited for."""

    def __init__(self) -> None:
        self.runs: list[int] = []

    def short(self, number: int) -> None:
        self.runs.append(number)


class Guests(threading.Thread):
    """Workers that join the group and leave it again, one after the other."""

    def __init__(self, house: House, handlers: dict[str, Any]) -> None:
        super().__init__(name="guests")
        self._house, self._handlers = house, handlers
        self.over = threading.Event()
        self.seen = 0

    def run(self) -> None:
        while not self.over.is_set():
            guest = self._house.worker(self._handlers, name=f"guest-{self.seen}", concurrency=2, ready=0)
            guest.wait_ready(20)
            self.over.wait(1.0)
            guest.stop()
            self.seen += 1


def test_long_tasks_run_once_and_pin_nothing_while_partitions_move(house: House) -> None:
    long, short = Crowd(), Shorts()
    handlers = {"long": long.hold, "short": short.short}
    house.worker(handlers, name="holder", concurrency=16)
    longs = house.client.submit_many([("long", (number,)) for number in range(8)])
    eventually(lambda: len(long.begun) == 8)
    eventually(lambda: {result.partition for result in house.results(longs)} <= set(range(PARTITIONS)))
    begun = time.monotonic()
    house.worker(handlers, name="second", concurrency=4)  # takes partitions over before their heads are detached
    guests = Guests(house, handlers)
    guests.start()
    try:
        ids: list[str] = []
        while time.monotonic() < begun + 3 * DETACH_AFTER or guests.seen < 3 or len(ids) < 2_000:
            batch = house.client.submit_many([("short", (number,)) for number in range(len(ids), len(ids) + 250)])
            house.ended(batch, timeout=30)
            ids += batch
    finally:
        guests.over.set()
        guests.join(30)
    eventually(
        lambda: house.lag() == 0, 15, every=0.5
    )  # honest: nothing waits, and what runs is not counted as waiting
    assert {result.status for result in house.results(longs)} == {TaskStatus.PROCESSING}
    long.gate.opened.set()
    assert [result.result for result in house.ended(longs)] == list(range(8))
    assert long.begun == dict.fromkeys(range(8), 1)
    assert [(result.attempts, result.lost) for result in house.results(longs)] == [(1, 0)] * 8
    assert {result.status for result in house.results(ids)} == {TaskStatus.SUCCESS}
    assert Counter(short.runs) == dict.fromkeys(range(len(ids)), 1)


def test_what_was_claimed_behind_long_tasks_goes_back_to_its_queue(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    long, short = Crowd(), Shorts()
    house.worker({"long": long.hold, "short": short.short}, concurrency=2)
    longs = house.client.submit_many([("long", (number,)) for number in range(2)])
    eventually(lambda: len(long.begun) == 2)
    with monkeypatch.context() as patch:
        patch.setattr(Pace, "ahead", lambda _: 50)  # as after thousands of short ones
        shorts = house.client.submit_many([("short", (number,)) for number in range(100)])
        eventually(lambda: Counter(r.status for r in house.results(shorts))[TaskStatus.PROCESSING] > 40)
    eventually(lambda: {result.status for result in house.results(shorts)} == {TaskStatus.QUEUED})
    assert short.runs == []
    long.gate.opened.set()
    results = house.ended([*longs, *shorts])
    assert {(result.status, result.attempts, result.lost) for result in results} == {(TaskStatus.SUCCESS, 1, 0)}
    assert sorted(short.runs) == list(range(100))
    assert max(result.gen for result in results) == 2  # some did go back
