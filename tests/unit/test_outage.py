"""An outage is told once when it begins and once when it ends, however many tries and threads there are."""

from __future__ import annotations

import logging
import threading

import pytest

from yadtq.core.yadtq_outage import OutageLog

logger = logging.getLogger("test_outage")


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger=logger.name)
    return caplog


def test_nothing_is_told_while_all_is_well(told: pytest.LogCaptureFixture) -> None:
    log = OutageLog(logger, "waiting")
    log.up()
    log.up()
    assert told.messages == []


def test_an_outage_is_told_once_with_what_happens_meanwhile(told: pytest.LogCaptureFixture) -> None:
    log = OutageLog(logger, "nothing is lost")
    for _ in range(20):
        log.down("Redis is away")
    assert told.messages == ["Redis is away; nothing is lost"]
    assert told.records[0].levelno == logging.WARNING


def test_its_end_is_told_once_and_the_next_outage_again(told: pytest.LogCaptureFixture) -> None:
    log = OutageLog(logger, "waiting")
    for _ in range(2):
        log.down("away")
        log.down("away")
        log.up()
        log.up()
    messages = told.messages
    assert len(messages) == 4
    assert messages[0] == messages[2] == "away; waiting"
    assert messages[1].startswith("it answers again after 0.")


def test_many_threads_tell_it_once(told: pytest.LogCaptureFixture) -> None:
    log, barrier = OutageLog(logger, "waiting"), threading.Barrier(16)

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
