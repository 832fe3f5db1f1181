"""What can be wrong with the servers and settings, and the remedy: one set of checks for `yadtq doctor` and each worker's start. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from yadtq.config import Settings

OLDEST_REDIS = (6, 2)
# The first release of each line in which a script cannot break out of its sandbox (CVE-2025-49844). Older lines have none.
SAFE_REDIS = ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2))
SAFE_VALKEY = ((7, 2, 11), (8, 0, 6), (8, 1, 4))
SKEW = 2.0  # seconds of clock difference that make times on screen look wrong
FULL = 0.8  # part of Redis' maxmemory from which on it is called nearly full


class Level(str, Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # works, and will bite later
    FAIL = "fail"  # does not work


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    about: str
    level: Level
    found: str
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """For a log."""
        return f"{self.about}: {self.found}" + (f"; {self.remedy}" if self.remedy else "")


def signing_checks(settings: Settings) -> Iterator[Check]:
    """Whether tasks are signed; settings that need it and lack a key were refused before."""
    if settings.signing_required:
        yield Check("signing", Level.OK, f"on, {len(settings.signing_keys)} key(s); the first one signs")
    else:
        yield Check("signing", Level.OK, "off, which is accepted since Kafka is on this machine")


def redis_checks(found: Mapping[str, Any]) -> Iterator[Check]:
    """Whether this Redis can be trusted with tasks; ``found`` as by ``ResultStore.describe``."""
    yield _version_check(found["version"], found["valkey"])
    if found["mode"] == "cluster":
        yield Check("Redis", Level.FAIL, "it is a Redis Cluster", "use one Redis, or a primary with replicas")
    if found["role"] == "slave":
        yield Check(
            "Redis", Level.FAIL, "it is a replica, which takes no changes", "set YADTQ_REDIS_URL to its primary"
        )
    yield _memory_check(found)
    yield _disk_check(found)
    skew = abs(found["clock_skew"])
    level, remedy = (Level.WARN, "synchronise both clocks with NTP") if skew > SKEW else (Level.OK, "")
    yield Check("clocks", level, f"Redis and this machine are {_span(skew)} apart", remedy)


def _version_check(redis: str, valkey: str | None) -> Check:
    if _numbers(redis) < OLDEST_REDIS:
        return Check("Redis", Level.FAIL, f"version {redis} is too old", "use Redis 6.2 or newer")
    said, version, lines = (
        (f"Valkey {valkey}", _numbers(valkey), SAFE_VALKEY)
        if valkey
        else (f"version {redis}", _numbers(redis), SAFE_REDIS)
    )
    first_safe = next((safe for safe in lines if safe[:2] == version[:2]), None)
    if version < lines[-1] and (first_safe is None or version < first_safe):
        safe = ".".join(map(str, first_safe or min(one for one in lines if one > version)))
        found = f"{said} lets whoever may run scripts take it over (CVE-2025-49844)"
        return Check("Redis", Level.WARN, found, f"upgrade to {safe} or newer")
    return Check("Redis", Level.OK, said)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def _memory_check(found: Mapping[str, Any]) -> Check:
    used, limit, policy = found["used_memory"] or 0, found["maxmemory"], found["policy"]
    evicts = policy not in (None, "noeviction")
    remedy = "set maxmemory-policy noeviction, or a full Redis throws tasks away"
    if not limit:
        said = f"{used / 1e6:.0f} MB used, no limit"
        if evicts:
            return Check("Redis memory", Level.WARN, f"{said} yet, but policy {policy}", remedy)
        return Check("Redis memory", Level.OK, said)
    said = f"{used / 1e6:.0f} MB of {limit / 1e6:.0f} MB used, policy {policy}"
    if evicts:
        return Check("Redis memory", Level.FAIL, said, remedy)
    if used > limit:
        remedy = "raise maxmemory, or lower result_ttl: until then new tasks are refused"
        return Check("Redis memory", Level.FAIL, f"{said}: it is full", remedy)
    if used > limit * FULL:
        return Check(
            "Redis memory", Level.WARN, said, "raise maxmemory, or lower result_ttl: a full Redis refuses tasks"
        )
    return Check("Redis memory", Level.OK, said)


def _disk_check(found: Mapping[str, Any]) -> Check:
    if not found["aof"]:
        remedy = "set appendonly yes, or a restart of Redis loses scheduled and retrying tasks"
        return Check("Redis on disk", Level.WARN, "append-only file is off", remedy)
    if not found["aof_works"]:
        return Check("Redis on disk", Level.FAIL, "the append-only file cannot be written", "free space on Redis' disk")
    return Check("Redis on disk", Level.OK, "append-only file is on")


def notification_checks(enabled: bool | None) -> Iterator[Check]:
    """Whether Redis wakes the live pages; None where it does not tell."""
    if enabled:
        yield Check("live pages", Level.OK, "Redis notifies of changes")
    else:
        remedy = "set notify-keyspace-events Kz in Redis; until then pages look once a second"
        yield Check("live pages", Level.WARN, "Redis does not notify, or does not tell whether it does", remedy)


def worker_checks(online: int) -> Iterator[Check]:
    """Whether anyone works."""
    if online:
        yield Check("workers", Level.OK, f"{online} online")
    else:
        yield Check("workers", Level.WARN, "none online", "start one: yadtq worker MODULE")


def clock_checks(skews: Mapping[str, float]) -> Iterator[Check]:
    """Whether each worker's clock, by its own word, agrees with Redis'; seconds by the worker's name."""
    for name, skew in sorted(skews.items()):
        if abs(skew) > SKEW:
            found = f"Redis and the machine of worker {name} are {_span(abs(skew))} apart"
            yield Check("clocks", Level.WARN, found, "synchronise both clocks with NTP")


def kafka_checks(found: Mapping[str, Any], settings: Settings, workers: Mapping[str, int]) -> Iterator[Check]:
    """Whether Kafka keeps copies and has enough partitions; ``found`` as by ``Broker.describe``, workers online by topic."""
    brokers, topics = found["brokers"], found["topics"]
    yield Check("Kafka", Level.OK, f"version {found['version']}, {brokers} broker(s) at {settings.kafka_address}")
    for topic, about in sorted(topics.items()):
        yield _partition_check(topic, about["partitions"], workers.get(topic, 0))
        yield from _copies_checks(topic, about["copies"], about["in_step"], brokers)
    if found["group_lag"] is not None:
        yield Check("lag", Level.OK, f"{found['group_lag']} records not yet committed by group {settings.group_id}")


def missing_topic_checks(found: Mapping[str, Any], settings: Settings, workers: Mapping[str, int]) -> Iterator[Check]:
    """Whether workers have the topics they serve, which they make at their start, and again when one was deleted."""
    topics = found["topics"]
    if settings.topic not in {*topics, *workers}:
        yield Check("topics", Level.OK, f"{settings.topic} is made when the first worker or client needs it")
    for topic in sorted(workers.keys() - topics.keys()):
        make = f"kafka-topics.sh --create --topic {topic} --partitions {settings.partitions}"
        remedy = f"see the workers' log for what keeps them from making it anew, or make it: {make}"
        yield Check("topics", Level.WARN, f"{topic} is missing, and workers take tasks from it", remedy)


def _partition_check(topic: str, partitions: int, workers: int) -> Check:
    said = f"{topic} has {partitions} partitions for {workers} worker processes"
    if partitions < workers:
        remedy = f"give it more: kafka-topics.sh --alter --topic {topic} --partitions {workers}"
        return Check("topics", Level.WARN, f"{said}: {workers - partitions} of them get no tasks from it", remedy)
    return Check("topics", Level.OK, said)


def _copies_checks(topic: str, copies: int, in_step: int | None, brokers: int) -> Iterator[Check]:
    if brokers < 2:
        return  # nowhere to keep a second copy
    if copies < 2:
        remedy = "add replicas with kafka-reassign-partitions.sh; set YADTQ_REPLICATION_FACTOR=3 for new topics"
        yield Check("copies", Level.WARN, f"{topic} is kept once: a broker that is lost takes its tasks along", remedy)
    elif in_step is not None and in_step < 2:
        remedy = (
            f"kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config min.insync.replicas=2"
        )
        found = f"{topic} has {copies} copies, but Kafka acknowledges what only one of them holds"
        yield Check("copies", Level.WARN, found, remedy)
    elif in_step is not None and in_step >= copies:
        found = f"{topic} has {copies} copies and min.insync.replicas {in_step}: one broker away stops it"
        yield Check("copies", Level.WARN, found, f"lower min.insync.replicas to {copies - 1}, or add a copy")
    else:
        yield Check("copies", Level.OK, f"{topic} is kept {copies} times")


def _span(seconds: float) -> str:
    """A length of time as people say it."""
    for unit, name in ((86_400.0, "days"), (3600.0, "hours"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"
