"""An outage is told once when it begins and once when it ends, however many tries and threads there are."""

from __future__ import annotations

import logging
import threading

import pytest

from yadtq.core import yadtq_outage
from yadtq.core.yadtq_outage import STEADY, TOLD_SINGLY, OutageLog

logger = logging.getLogger("test_outage")


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger=logger.name)
    return caplog


def test_nothing_is_told_while_all_is_well(told: pytest.LogCaptureFixture) -> None:
    log = OutageLog(logger, "Redis", "waiting")
    log.up()
    log.up()
    assert told.messages == []


def test_an_outage_is_told_once_with_what_happens_meanwhile(told: pytest.LogCaptureFixture) -> None:
    log = OutageLog(logger, "Redis", "nothing is lost")
    for _ in range(20):
        log.down("Redis is away")
    assert told.messages == ["Redis is away; nothing is lost"]
    assert told.records[0].levelno == logging.WARNING


def test_its_end_is_told_once_and_the_next_outage_again(told: pytest.LogCaptureFixture) -> None:
    log = OutageLog(logger, "Redis", "waiting")
    for _ in range(2):
        log.down("away")
        log.down("away")
        log.up()
        log.up()
    messages = told.messages
    assert len(messages) == 4
    assert messages[0] == messages[2] == "away; waiting"
    assert messages[1] == "Redis answers again after 0.0 s"


def test_many_threads_tell_it_once(told: pytest.LogCaptureFixture) -> None:
    log, barrier = OutageLog(logger, "Redis", "waiting"), threading.Barrier(16)

    def notice() -> None:
        barrier.wait()
        log.down("away")
        barrier.wait()
        log.up()

    threads = [threading.Thread(target=notice) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told.messages) == 2


# -- a server that comes and goes --------------------------------------------------------------------------------


class Flapper:
    """An outage log on a clock that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(yadtq_outage.time, "monotonic", lambda: self.now)
        self.log = OutageLog(logger, "Redis", "waiting")

    def outage(self, lasts: float, then_steady: float) -> None:
        self.log.down("away")
        self.now += lasts
        self.log.down("away")
        self.log.up()
        self.now += then_steady


def test_how_long_it_lasted_is_told(told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    Flapper(monkeypatch).outage(lasts=12.34, then_steady=0)
    assert told.messages[-1] == "Redis answers again after 12.3 s"


def test_a_server_that_comes_and_goes_does_not_flood_the_log(
    told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    flapper = Flapper(monkeypatch)
    for _ in range(1000):
        flapper.outage(lasts=0.5, then_steady=2.0)
    assert len(told.messages) == 2 * TOLD_SINGLY + 1
    assert "It comes and goes, 4 times by now" in told.messages[-1]
    flapper.now += STEADY
    flapper.log.up()
    flapper.log.up()
    assert told.messages[-1].startswith("Redis has answered for 6")
    assert told.messages[-1].endswith("after 1000 outages of 500.0 s in all")
    assert len(told.messages) == 2 * TOLD_SINGLY + 2


def test_after_a_steady_time_outages_are_told_one_by_one_again(
    told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    flapper = Flapper(monkeypatch)
    for _ in range(10):
        flapper.outage(lasts=1.0, then_steady=STEADY)
    assert len(told.messages) == 20


def test_a_long_outage_is_told_also_after_short_ones(
    told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    flapper = Flapper(monkeypatch)
    for _ in range(TOLD_SINGLY + 2):
        flapper.outage(lasts=1.0, then_steady=1.0)
    before = len(told.messages)
    flapper.outage(lasts=STEADY + 1, then_steady=1.0)
    assert told.messages[before:] == ["away; it has been away for 61 s now", "Redis answers again after 61.0 s"]


def test_its_reason_can_be_asked_while_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    log = OutageLog(logger, "Redis", "waiting")
    assert log.sentence == ""
    log.down("away")
    assert log.sentence == "away"
    log.up()
    assert log.sentence == ""
