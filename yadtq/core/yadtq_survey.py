"""What the pages and `yadtq doctor` ask of Kafka: how far each partition is read and by what group, topics, the newest rejected records.

A part of `yadtq_broker`, which makes the connections.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, OffsetSpec, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import RetriableError

from yadtq.config import Settings
from yadtq.core.yadtq_codec import MASK, SECRET_NAMES
from yadtq.core.yadtq_records import read_on

logger = logging.getLogger(__name__)

PREVIEW = 2_000  # bytes of a rejected record that are shown
_TEXT = r'"(?:[^"\\]|\\.)*'  # JSON text without its last quote
# A field's name, looked for at each quote: what is no JSON, or is cut, may have an odd number of them.
_NAME = re.compile(rf'(?<!\\)(?=({_TEXT})"\s*:\s*())', re.DOTALL)
_VALUE = re.compile(rf'{_TEXT}"?|[^\s,}}\]"]+', re.DOTALL)
_PART = re.compile(rf'{_TEXT}"?|[\[\]{{}}]', re.DOTALL)
_CLOSED_BY = {"[": "]", "{": "}"}


@dataclass(frozen=True)
class PartitionState:
    """One partition: what is kept, and how far the workers have committed."""

    topic: str
    number: int
    first: int  # the oldest offset kept
    committed: int | None  # the first offset that is still needed; None where nothing was ever committed
    end: int

    @property
    def head(self) -> int:
        """The first offset that is still needed."""
        return max(self.first, self.committed or 0)

    @property
    def lag(self) -> int:
        """Records from the head on."""
        return max(0, self.end - self.head)


@dataclass(frozen=True)
class KafkaSurvey:
    """One look at all of it."""

    at: float  # seconds since the epoch
    brokers: int
    group: str
    state: str  # of the group, in Kafka's words; '' where there has never been one
    members: int
    partitions: list[PartitionState]  # of the queues' topics, in order
    rejected: int  # records in the dead topic

    @property
    def lag(self) -> int:
        """Of all partitions."""
        return sum(one.lag for one in self.partitions)


@dataclass(frozen=True)
class RejectedRecord:
    """One record of the dead topic."""

    at: float  # when it was put there, seconds since the epoch
    partition: int
    offset: int
    topic: str  # where it was found
    key: str  # as text; a task's id where a client sent it
    reason: str
    size: int  # bytes
    preview: str  # its beginning


@dataclass(frozen=True)
class Rejected:
    """The newest records of the dead topic, newest first."""

    records: list[RejectedRecord]
    kept: int  # in the topic
    complete: bool  # False: Kafka did not give all that were asked for in time


def survey(admin: KafkaAdminClient, settings: Settings) -> KafkaSurvey:
    """One look, in a handful of requests."""
    own, dead = settings.topic, settings.dead_topic
    names = [topic for topic in admin.list_topics() if topic in (own, dead) or topic.startswith(own + ".")]
    places = _partitions(admin, names)
    first = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.EARLIEST))
    end = admin.list_partition_offsets(dict.fromkeys(places, OffsetSpec.LATEST))
    state, members, committed = _group(admin, settings.group_id)
    return KafkaSurvey(
        at=time.time(),
        brokers=len(admin.describe_cluster()["brokers"]),
        group=settings.group_id,
        state=state,
        members=members,
        partitions=[
            PartitionState(tp.topic, tp.partition, first[tp].offset, committed.get(tp), end[tp].offset)
            for tp in places
            if tp.topic != dead
        ],
        rejected=sum(end[tp].offset - first[tp].offset for tp in places if tp.topic == dead),
    )


def _group(admin: KafkaAdminClient, group: str) -> tuple[str, int, dict[TopicPartition, int]]:
    try:
        about = admin.describe_groups([group])[group]
        offsets = admin.list_group_offsets(group)[group]
    except RetriableError as error:  # a Kafka that has never had a group
        logger.debug("no group yet: %s", error)
        return "", 0, {}
    state = "" if about["group_state"] == "Dead" else about["group_state"]
    return state, len(about["members"]), {tp: entry.offset for tp, entry in offsets.items() if entry.offset >= 0}


def _partitions(admin: KafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    described = admin.describe_topics(list(topics)) if topics else []
    return sorted(
        TopicPartition(one["name"], part["partition_index"]) for one in described for part in one["partitions"]
    )


def read_newest(consumer: KafkaConsumer, topic: str, limit: int, seconds: float) -> Rejected:
    """The newest records of a topic, as far as Kafka gives them in time; the consumer is of no group."""
    deadline = time.monotonic() + seconds
    places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    if not places:
        return Rejected([], 0, complete=True)
    first, end = consumer.beginning_offsets(places), consumer.end_offsets(places)
    left = {tp: end[tp] for tp in places if end[tp] > first[tp]}
    read_on(consumer).assign(list(left))
    for tp in left:
        consumer.seek(tp, max(first[tp], end[tp] - limit))
    found: list[RejectedRecord] = []
    while left and time.monotonic() < deadline:
        batches = consumer.poll(timeout_ms=max(1, int((deadline - time.monotonic()) * 1000)))
        for tp, records in batches.items():
            found += [_rejected(record) for record in records]
            if records and records[-1].offset + 1 >= left.get(tp, 0):
                left.pop(tp, None)
    found.sort(key=lambda record: (record.at, record.partition, record.offset), reverse=True)
    return Rejected(found[:limit], sum(end[tp] - first[tp] for tp in places), complete=not left)


def _rejected(record: Any) -> RejectedRecord:
    headers = {name: value.decode(errors="replace") for name, value in record.headers if value is not None}
    body = record.value or b""
    return RejectedRecord(
        at=record.timestamp / 1000,
        partition=record.partition,
        offset=record.offset,
        topic=headers.get("yadtq-topic", ""),
        key=(record.key or b"")[:200].decode(errors="replace"),
        reason=headers.get("yadtq-reason", ""),
        size=len(body),
        preview=masked(body[:PREVIEW].decode(errors="replace")),
    )


def masked(text: str) -> str:
    """JSON, or what is left of it, with the values of fields named like a secret masked."""
    shown, rest = "", 0
    for name in _NAME.finditer(text):
        start = name.start(2)
        if name.start() < rest or SECRET_NAMES.search(name[1]) is None:
            continue
        end = _end_of_value(text, start)
        if end > start:
            shown += f'{text[rest:start]}"{MASK}"'
            rest = end
    return shown + text[rest:]


def _end_of_value(text: str, start: int) -> int:
    """Where the value that begins there ends; the text's end where it was cut, or its brackets are in disorder."""
    if text[start : start + 1] not in _CLOSED_BY:
        value = _VALUE.match(text, start)
        return value.end() if value else start
    awaited: list[str] = []
    for part in _PART.finditer(text, start):
        if part[0] in _CLOSED_BY:
            awaited.append(_CLOSED_BY[part[0]])
        elif part[0] in _CLOSED_BY.values():
            if awaited.pop() != part[0]:
                break
            if not awaited:
                return part.end()
    return len(text)


def positions(
    admin: KafkaAdminClient, topics: Sequence[str], group: str
) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Per partition (first offset kept, offset committed by the group, end)."""
    partitions = _partitions(admin, topics)
    first = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.EARLIEST))
    end = admin.list_partition_offsets(dict.fromkeys(partitions, OffsetSpec.LATEST))
    found = admin.list_group_offsets(group)[group]
    return {
        (tp.topic, tp.partition): (first[tp].offset, max(found[tp].offset, 0) if tp in found else 0, end[tp].offset)
        for tp in partitions
    }


def describe(admin: KafkaAdminClient, own: str) -> dict[str, Any]:
    """Version, brokers, and the topics of the queues, of which ``own`` is the default one."""
    names = [topic for topic in admin.list_topics() if topic == own or topic.startswith(own + ".")]
    brokers = admin.describe_cluster()["brokers"]
    return {
        "version": admin.get_broker_version_data(brokers[0]["broker_id"]).broker_version_str,
        "brokers": len(brokers),
        "topics": _describe_topics(admin, names),
    }


def _describe_topics(admin: KafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, int | None]]:
    """Per topic its partitions, copies, and how many copies must be in step; the last is None where Kafka does not tell."""
    wanted = [ConfigResource("TOPIC", name, {"min.insync.replicas": None}) for name in names]
    configs = admin.describe_configs(wanted, config_filter="all").get("topic", {}) if names else {}
    found: dict[str, dict[str, int | None]] = {}
    for topic in admin.describe_topics(list(names)) if names else []:
        name, parts = topic["name"], topic["partitions"]
        in_step = configs.get(name, {}).get("min.insync.replicas", {}).get("value")
        found[name] = {
            "partitions": len(parts),
            "copies": min((len(part["replica_nodes"]) for part in parts), default=0),
            "in_step": int(in_step) if in_step else None,
        }
    return found
