"""``yadtq doctor``: looks at everything tasks need, and says what to do about what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import click

from yadtq import create_yadtq
from yadtq.commands import output
from yadtq.commands.exits import Exit
from yadtq.commands.servers import Servers, json_option, server_options
from yadtq.config import Settings
from yadtq.core.yadtq_views import Views
from yadtq.errors import BrokerUnavailable, ResultStoreUnavailable

OLDEST_REDIS = (6, 2)
_SKEW = 2.0  # seconds of clock difference that make times on screen look wrong
_FULL = 0.8  # part of Redis' maxmemory from which on it is called nearly full


class Level(str, Enum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # works, and will bite later
    FAIL = "fail"  # does not work


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    about: str
    level: Level
    found: str
    remedy: str = ""


@click.command()
@json_option
@server_options
def doctor(servers: Servers, as_json: bool) -> None:
    """Check Kafka, Redis, signing and workers; say what to do.

    Ends with 1 when something does not work; warnings alone end with 0.
    """
    broker, store = create_yadtq(**servers.explicit)
    workers = 0
    checks = [*signing_checks(store.settings)]
    try:
        views = Views(store)
        workers = sum(worker.online for worker in views.workers())
        checks += redis_checks(store.describe(), notifications=views.notifications_enabled())
        checks += worker_checks(workers)
    except ResultStoreUnavailable as error:
        checks.append(Check("Redis", Level.FAIL, str(error)))
    try:
        checks += kafka_checks(broker.describe(), store.settings, workers)
    except BrokerUnavailable as error:
        checks.append(Check("Kafka", Level.FAIL, str(error)))
    _report(checks, as_json)
    if any(check.level is Level.FAIL for check in checks):
        click.get_current_context().exit(Exit.NO)


def signing_checks(settings: Settings) -> Iterator[Check]:
    """Whether tasks are signed; settings that need it and lack a key were refused before."""
    if settings.signing_required:
        yield Check("signing", Level.OK, f"on, {len(settings.signing_keys)} key(s); the first one signs")
    else:
        yield Check("signing", Level.OK, "off, which is accepted since Kafka is on this machine")


def redis_checks(found: dict[str, Any], *, notifications: bool | None) -> Iterator[Check]:
    """Whether this Redis can be trusted with tasks."""
    version = tuple(int(part) for part in found["version"].split(".")[:2])
    if version < OLDEST_REDIS:
        yield Check("Redis", Level.FAIL, f"version {found['version']} is too old", "use Redis 6.2 or newer")
    else:
        yield Check("Redis", Level.OK, f"version {found['version']}")
    yield _memory_check(found)
    if found["aof"]:
        yield Check("Redis on disk", Level.OK, "append-only file is on")
    else:
        remedy = "set appendonly yes, or a restart of Redis loses scheduled and retrying tasks"
        yield Check("Redis on disk", Level.WARN, "append-only file is off", remedy)
    if notifications:
        yield Check("live pages", Level.OK, "Redis notifies of changes")
    else:
        remedy = "set notify-keyspace-events Kz in Redis; until then pages look once a second"
        yield Check("live pages", Level.WARN, "Redis does not notify, or does not tell whether it does", remedy)
    skew = abs(found["clock_skew"])
    level, remedy = (Level.WARN, "synchronise both clocks with NTP") if skew > _SKEW else (Level.OK, "")
    yield Check("clocks", level, f"Redis and this machine are {skew:.1f} s apart", remedy)


def _memory_check(found: dict[str, Any]) -> Check:
    used, limit, policy = found["used_memory"] or 0, found["maxmemory"], found["policy"]
    megabytes = f"{used / 1e6:.0f} MB used"
    if not limit:
        return Check("Redis memory", Level.OK, f"{megabytes}, no limit")
    said = f"{megabytes} of {limit / 1e6:.0f} MB, policy {policy}"
    if policy != "noeviction":
        return Check(
            "Redis memory",
            Level.FAIL,
            said,
            "set maxmemory-policy noeviction, or a full Redis throws tasks away",
        )
    if used > limit * _FULL:
        return Check(
            "Redis memory",
            Level.WARN,
            said,
            "raise maxmemory, or lower result_ttl: a full Redis refuses tasks",
        )
    return Check("Redis memory", Level.OK, said)


def worker_checks(online: int) -> Iterator[Check]:
    """Whether anyone works."""
    if online:
        yield Check("workers", Level.OK, f"{online} online")
    else:
        yield Check("workers", Level.WARN, "none online", "start one: yadtq worker MODULE")


def kafka_checks(found: dict[str, Any], settings: Settings, workers: int) -> Iterator[Check]:
    """Whether Kafka can be reached, keeps copies, and has enough partitions for the workers."""
    brokers, topics = found["brokers"], found["topics"]
    yield Check("Kafka", Level.OK, f"{brokers} broker(s) at {settings.kafka_address}")
    if settings.topic not in topics:
        yield Check("topics", Level.OK, f"{settings.topic} is made when the first worker or client needs it")
    for topic, partitions in sorted(topics.items()):
        said = f"{topic} has {partitions} partitions for {workers} workers"
        if partitions < workers:
            remedy = f"give it more: kafka-topics.sh --alter --topic {topic} --partitions {workers}"
            yield Check("topics", Level.WARN, said, remedy)
        else:
            yield Check("topics", Level.OK, said)
    if found["group_lag"] is not None:
        yield Check("lag", Level.OK, f"{found['group_lag']} records not yet committed by group {settings.group_id}")


def _report(checks: list[Check], as_json: bool) -> None:
    if as_json:
        output.print_json({"checks": [asdict(check) for check in checks]})
        return
    styles = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
    table = output.table("", "check", "found", "what to do")
    for check in checks:
        level = output.plain(check.level.value, styles[check.level])
        table.add_row(level, check.about, output.plain(check.found), output.plain(check.remedy))
    output.console().print(table)
