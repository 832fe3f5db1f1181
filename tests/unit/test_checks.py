"""What the checks make of what was found, with every figure that is wrong once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from yadtq.config import load_settings
from yadtq.core.yadtq_checks import (
    Check,
    Level,
    clock_checks,
    kafka_checks,
    missing_topic_checks,
    notification_checks,
    redis_checks,
    signing_checks,
    worker_checks,
)

SOUND = {
    "version": "8.2.3",
    "valkey": None,
    "mode": "standalone",
    "role": "master",
    "aof": True,
    "aof_works": True,
    "policy": "noeviction",
    "clock_skew": 0.1,
    "maxmemory": 0,
    "used_memory": 10_000_000,
}
ONE_TOPIC = {"partitions": 12, "copies": 3, "in_step": 2}


def bad(checks: Iterable[Check]) -> list[tuple[str, Level]]:
    """What is not as it should be; each such check must name a remedy."""
    found = [check for check in checks if check.level is not Level.OK]
    assert all(check.remedy for check in found)
    return [(check.about, check.level) for check in found]


def test_a_sound_redis() -> None:
    assert bad(redis_checks(SOUND)) == []


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"version": "6.0.9"}, ("Redis", Level.FAIL)),
        ({"version": "5.0"}, ("Redis", Level.FAIL)),
        ({"mode": "cluster"}, ("Redis", Level.FAIL)),
        ({"role": "slave"}, ("Redis", Level.FAIL)),
        ({"aof": False}, ("Redis on disk", Level.WARN)),
        ({"aof_works": False}, ("Redis on disk", Level.FAIL)),
        ({"clock_skew": -3.0}, ("clocks", Level.WARN)),
        ({"clock_skew": 7200.0}, ("clocks", Level.WARN)),
        ({"maxmemory": 100_000_000, "policy": "allkeys-lru"}, ("Redis memory", Level.FAIL)),
        ({"maxmemory": 100_000_000, "policy": "volatile-ttl"}, ("Redis memory", Level.FAIL)),
        ({"policy": "allkeys-lru"}, ("Redis memory", Level.WARN)),
        ({"maxmemory": 11_000_000}, ("Redis memory", Level.WARN)),
        ({"maxmemory": 9_000_000}, ("Redis memory", Level.FAIL)),
    ],
)
def test_an_unsound_redis(found: dict[str, Any], expected: tuple[str, Level]) -> None:
    assert bad(redis_checks({**SOUND, **found})) == [expected]


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("6.2.19", "6.2.20"),
        ("6.2.20", ""),
        ("7.0.15", "7.2.11"),  # a line that was never mended
        ("7.2.10", "7.2.11"),
        ("7.4.6", ""),
        ("8.0.3", "8.0.4"),
        ("8.2.1", "8.2.2"),
        ("8.2.2", ""),
        ("8.4.0", ""),
        ("10.0.0", ""),
        ("255.255.255", ""),  # built from the newest source
    ],
)
def test_a_redis_whose_scripts_can_break_out_is_to_be_upgraded(version: str, safe: str) -> None:
    check = next(redis_checks({**SOUND, "version": version}))
    assert (check.level, check.remedy) == ((Level.WARN, f"upgrade to {safe} or newer") if safe else (Level.OK, ""))


@pytest.mark.parametrize(("version", "level"), [("8.1.3", Level.WARN), ("8.1.4", Level.OK), ("9.0.0", Level.OK)])
def test_a_valkey_is_judged_by_its_own_version(version: str, level: Level) -> None:
    assert next(redis_checks({**SOUND, "version": "7.2.4", "valkey": version})).level is level


def test_a_clock_that_is_hours_off_is_said_in_hours() -> None:
    (check,) = [check for check in redis_checks({**SOUND, "clock_skew": -9000.0}) if check.about == "clocks"]
    assert check.found == "Redis and this machine are 2.5 hours apart"
    assert bad(clock_checks({"a": 0.5, "b": 9000.0})) == [("clocks", Level.WARN)]


@pytest.mark.parametrize("notifications", [False, None])
def test_a_redis_that_does_not_notify(notifications: bool | None) -> None:
    assert bad(notification_checks(notifications)) == [("live pages", Level.WARN)]
    assert bad(notification_checks(True)) == []


def kafka(topic: dict[str, int | None], workers: int = 1, brokers: int = 3) -> list[Check]:
    found = {"version": "4.4", "brokers": brokers, "topics": {"yadtq_tasks": {**ONE_TOPIC, **topic}}, "group_lag": 0}
    return list(kafka_checks(found, load_settings({}), {"yadtq_tasks": workers}))


def test_a_sound_kafka() -> None:
    checks = kafka({}, workers=12)
    assert bad(checks) == []
    assert checks[0].found == "version 4.4, 3 broker(s) at localhost:9092"


def test_fewer_partitions_than_worker_processes() -> None:
    checks = kafka({"partitions": 2}, workers=5)
    assert bad(checks) == [("topics", Level.WARN)]
    (check,) = [check for check in checks if check.level is Level.WARN]
    assert "2 partitions for 5 worker processes: 3 of them get no tasks" in check.found
    assert check.remedy.endswith("--topic yadtq_tasks --partitions 5")


@pytest.mark.parametrize(
    "topic",
    [{"copies": 1}, {"copies": 3, "in_step": 1}, {"copies": 3, "in_step": 3}, {"copies": 2, "in_step": 2}],
)
def test_copies_that_lose_or_stop_with_one_broker(topic: dict[str, int | None]) -> None:
    assert bad(kafka(topic)) == [("copies", Level.WARN)]


def test_copies_are_no_matter_with_one_broker_or_where_kafka_does_not_tell() -> None:
    assert bad(kafka({"copies": 1, "in_step": 1}, brokers=1)) == []
    assert bad(kafka({"in_step": None})) == []


def test_a_kafka_that_nobody_has_used_yet() -> None:
    found = {"version": "4.4", "brokers": 3, "topics": {}, "group_lag": None}
    assert bad(kafka_checks(found, load_settings({}), {})) == []
    (check,) = missing_topic_checks(found, load_settings({}), {})
    assert check.sentence == "topics: yadtq_tasks is made when the first worker or client needs it"


def test_a_topic_that_workers_take_from_and_nobody_has() -> None:
    found = {"version": "4.4", "brokers": 1, "topics": {"yadtq_tasks": ONE_TOPIC}, "group_lag": 0}
    checks = list(missing_topic_checks(found, load_settings({}), {"yadtq_tasks": 1, "yadtq_tasks.media": 1}))
    assert bad(checks) == [("topics", Level.WARN)]
    assert checks[0].found == "yadtq_tasks.media is missing, and workers take tasks from it"
    assert checks[0].remedy.endswith("kafka-topics.sh --create --topic yadtq_tasks.media --partitions 12")


def test_no_worker() -> None:
    assert bad(worker_checks(0)) == [("workers", Level.WARN)]
    assert bad(worker_checks(2)) == []


def test_signing_is_said() -> None:
    unsigned = next(signing_checks(load_settings({})))
    signed = next(signing_checks(load_settings({}, signing_keys=["a:0123456789abcdef"])))
    assert unsigned.found.startswith("off")
    assert signed.found.startswith("on, 1 key")


def test_a_check_in_a_log_is_one_sentence_with_its_remedy() -> None:
    assert Check("Redis on disk", Level.WARN, "off", "set it on").sentence == "Redis on disk: off; set it on"
    assert Check("Redis", Level.OK, "version 8").sentence == "Redis: version 8"
