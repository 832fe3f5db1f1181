"""What `yadtq doctor` makes of what it finds, with every figure that is wrong once."""

from __future__ import annotations

from typing import Any

import pytest

from yadtq.commands.doctor import Check, Level, kafka_checks, redis_checks, signing_checks, worker_checks
from yadtq.config import load_settings

SOUND = {
    "version": "8.0.1",
    "aof": True,
    "policy": "noeviction",
    "clock_skew": 0.1,
    "maxmemory": 0,
    "used_memory": 10_000_000,
}


def bad(checks: list[Check]) -> list[tuple[str, Level]]:
    return [(check.about, check.level) for check in checks if check.level is not Level.OK]


def test_a_sound_redis() -> None:
    assert bad(list(redis_checks(SOUND, notifications=True))) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"version": "6.0.9"}, ("Redis", Level.FAIL)),
        ({"aof": False}, ("Redis on disk", Level.WARN)),
        ({"clock_skew": -3.0}, ("clocks", Level.WARN)),
        ({"maxmemory": 100_000_000, "policy": "allkeys-lru"}, ("Redis memory", Level.FAIL)),
        ({"maxmemory": 11_000_000}, ("Redis memory", Level.WARN)),
    ],
)
def test_an_unsound_redis(found: dict[str, Any], expected: tuple[str, Level]) -> None:
    checks = list(redis_checks({**SOUND, **found}, notifications=True))
    assert bad(checks) == [expected]
    assert next(check for check in checks if check.level is not Level.OK).remedy


@pytest.mark.parametrize("notifications", [False, None])
def test_a_redis_that_does_not_notify(notifications: bool | None) -> None:
    assert bad(list(redis_checks(SOUND, notifications=notifications))) == [("live pages", Level.WARN)]


def test_fewer_partitions_than_workers() -> None:
    found = {"brokers": 1, "topics": {"yadtq_tasks": 12, "yadtq_tasks.media": 2}, "group_lag": 0}
    checks = list(kafka_checks(found, load_settings({}), workers=4))
    assert bad(checks) == [("topics", Level.WARN)]
    assert "yadtq_tasks.media" in next(check.remedy for check in checks if check.level is Level.WARN)


def test_a_kafka_that_nobody_has_used_yet() -> None:
    assert bad(list(kafka_checks({"brokers": 3, "topics": {}, "group_lag": None}, load_settings({}), workers=0))) == []


def test_no_worker() -> None:
    assert bad(list(worker_checks(0))) == [("workers", Level.WARN)]
    assert bad(list(worker_checks(2))) == []


def test_signing_is_said() -> None:
    unsigned = next(signing_checks(load_settings({})))
    signed = next(signing_checks(load_settings({}, signing_keys=["a:0123456789abcdef"])))
    assert unsigned.found.startswith("off")
    assert signed.found.startswith("on, 1 key")
