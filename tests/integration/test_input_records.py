"""Records written to the topic by others than our clients: kept in the dead topic with the reason, never run."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition, codec

from tests.helpers import House, eventually, new_settings
from yadtq.core import yadtq_claimer
from yadtq.core.yadtq_codec import HEADER, Codec, Stamp
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

KEYS = ("k2:a-secret-of-the-present-day", "k1:a-secret-of-yesterday")
CODEC = Codec(KEYS, required=True)
STAMP = Stamp(1, int(time.time() * 1000))
OTHERS = Codec(("k2:somebody-elses-secret-is-this",), required=True)


@dataclass
class Site:
    """One worker that signs and verifies, and what the tests write and read beside it."""

    house: House
    producer: KafkaProducer
    dead: KafkaConsumer
    ran: list[Any] = field(default_factory=list)
    kept: dict[bytes, Any] = field(default_factory=dict)  # the dead topic's records by their key

    @property
    def topic(self) -> str:
        return str(self.house.settings["topic"])

    def write(self, body: bytes, header: bytes | None, *, topic: str | None = None, key_size: int = 32) -> bytes:
        """Put a record into the topic; returns its key, by which it is found among the dead."""
        key = uuid.uuid4().hex.encode().ljust(key_size, b"k")
        headers = [] if header is None else [(HEADER, header)]
        self.producer.send(topic or self.topic, body, key=key, headers=headers).get(timeout=10)
        return key

    def reason(self, key: bytes) -> str:
        """The reason beside the record that was kept; waits until it is there."""

        def found() -> bool:
            if self.dead.assignment() or self.assign():
                for records in self.dead.poll(timeout_ms=100).values():
                    self.kept.update((record.key, record) for record in records)
            return key in self.kept

        eventually(found, 15)
        return dict(self.kept[key].headers)["yadtq-reason"].decode()

    def assign(self) -> bool:
        """Follow the dead topic from its beginning, once it has been created."""
        dead_topic = self.house.settings["dead_topic"]
        partitions = self.dead.partitions_for_topic(dead_topic)
        if partitions:
            targets = [TopicPartition(dead_topic, number) for number in partitions]
            self.dead.assign(targets)
            self.dead.seek_to_beginning(*targets)
        return bool(partitions)


@pytest.fixture(scope="module")
def site(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Site]:
    settings = new_settings(kafka, redis_server, time_scale=0.1, partitions=1, signing_keys=KEYS)
    servers = {"bootstrap_servers": kafka.bootstrap_servers}
    with House(settings) as house:
        producer = KafkaProducer(**servers, max_request_size=2_000_000)
        dead = KafkaConsumer(**servers, enable_auto_commit=False)
        site = Site(house, producer, dead)
        house.worker({"record": site.ran.append}, queues=["default", "other"])
        yield site
        producer.close()
        dead.close()


def envelope(**changes: Any) -> bytes:
    """A good body, but for the changes."""
    good = {"v": 1, "id": uuid.uuid4().hex[:24], "name": "record", "args": ["evil"], "kwargs": {}, "opts": {}}
    return json.dumps({**good, **changes}).encode()


def signed(body: bytes, topic: str) -> tuple[bytes, bytes]:
    return body, CODEC.header(topic, STAMP, body)


def without(field_name: str) -> bytes:
    body = json.loads(envelope())
    del body[field_name]
    return json.dumps(body).encode()


def unsigned(body: bytes, _topic: str) -> tuple[bytes, bytes]:
    return body, b"1:%d::" % STAMP.at


def by_somebody_else(body: bytes, topic: str) -> tuple[bytes, bytes]:
    return body, OTHERS.header(topic, STAMP, body)


def of_an_unknown_key(body: bytes, topic: str) -> tuple[bytes, bytes]:
    return body, CODEC.header(topic, STAMP, body).replace(b"k2", b"k9")


def for_another_topic(body: bytes, topic: str) -> tuple[bytes, bytes]:
    return body, CODEC.header(f"{topic}.other", STAMP, body)


def of_another_gen(body: bytes, topic: str) -> tuple[bytes, bytes]:
    return body, CODEC.header(topic, STAMP, body).replace(b"1:", b"2:", 1)


def changed_after_signing(body: bytes, topic: str) -> tuple[bytes, bytes]:
    return body.replace(b"evil", b"evel"), CODEC.header(topic, STAMP, body)


def cut_after_signing(body: bytes, topic: str) -> tuple[bytes, bytes]:
    return body[: len(body) // 2], CODEC.header(topic, STAMP, body)


def without_a_header(body: bytes, _topic: str) -> tuple[bytes, None]:
    return body, None


SHAPE = "wrong shape"
CASES = {
    "unsigned": (unsigned, envelope(), "not signed"),
    "no header": (without_a_header, envelope(), "no yadtq header"),
    "signed by somebody else": (by_somebody_else, envelope(), "the signature does not match"),
    "signed with an unknown key": (of_an_unknown_key, envelope(), "signed with the unknown key 'k9'"),
    "signed for another topic": (for_another_topic, envelope(), "the signature does not match"),
    "replayed as another gen": (of_another_gen, envelope(), "the signature does not match"),
    "changed": (changed_after_signing, envelope(), "the signature does not match"),
    "truncated": (cut_after_signing, envelope(), "the signature does not match"),
    "truncated before signing": (signed, envelope()[:-9], "not JSON"),
    "not JSON": (signed, b"\x80\x05pickle?", "not JSON"),
    "empty": (signed, b"", "not JSON"),
    "huge": (signed, envelope(args=["x" * 530_000]), "too large: 530,"),
    "deep": (signed, b"[" * 60 + b"]" * 60, "nested deeper than 32 levels"),
    "very deep": (signed, b"[" * 200_000, "not JSON"),
    "very deep, with a long number": (signed, b"[" * 200_000 + b"1" * 30, "not JSON"),
    "a list": (signed, b"[1]", SHAPE),
    "null": (signed, b"null", SHAPE),
    "another version": (signed, envelope(v=2), "version '2' is not known to this worker; upgrade it"),
    "no id": (signed, without("id"), SHAPE),
    "a bad id": (signed, envelope(id="a b"), SHAPE),
    "a bad name": (signed, envelope(name="__import__('os')"), SHAPE),
    "args of the wrong kind": (signed, envelope(args={"a": 1}), SHAPE),
    "kwargs of the wrong kind": (signed, envelope(kwargs=[1]), SHAPE),
    "options of the wrong kind": (signed, envelope(opts={"retries": -1}), SHAPE),
    "a timeout of the wrong kind": (signed, envelope(opts={"timeout": "1"}), SHAPE),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_bad_record_is_kept_with_the_reason_and_never_run(site: Site, case: str) -> None:
    seal, body, reason = CASES[case]
    body, header = seal(body, site.topic)
    key = site.write(body, header)
    assert site.reason(key).startswith(reason)
    kept = site.kept[key]
    assert kept.value == body
    assert dict(kept.headers)["yadtq-topic"].decode() == site.topic
    after = os.urandom(8).hex()  # the worker goes on with the good record behind it
    assert site.house.client.wait_for_result(site.house.client.submit("record", after), timeout=10).ok
    assert site.ran[-1] == after
    assert not {"evil", "evel"} & set(site.ran)


@pytest.mark.parametrize(("key_size", "body_size"), [(1_048_450, 5), (48_450, 1_000_000)])
def test_a_record_of_the_largest_size_is_put_aside_cut(site: Site, key_size: int, body_size: int) -> None:
    """With the reason beside it, a whole copy would be larger than Kafka takes, and pin the partition."""
    key = site.write(b"x" * body_size, None, key_size=key_size)
    assert site.reason(key[:1000]).startswith(("no yadtq header", "too large"))
    assert len(site.kept[key[:1000]].value) == min(body_size, 900_000)
    eventually(lambda: site.house.lag() == 0, 10, every=0.2)


def test_a_real_record_replayed_into_another_queue_is_not_run_there(site: Site) -> None:
    task_id = site.house.client.submit("record", "once")
    site.house.client.wait_for_result(task_id, timeout=10)
    where = eventually(lambda: r if (r := site.house.client.get_result(task_id)).offset is not None else None)
    original = site.house.broker.read_back(site.topic, where.partition, where.offset)
    key = site.write(original.body, original.header, topic=f"{site.topic}.other")
    assert site.reason(key) == "the signature does not match"
    assert site.ran.count("once") == 1


def test_a_real_record_written_twice_is_run_once(site: Site) -> None:
    task_id = site.house.client.submit("record", "twice")
    site.house.client.wait_for_result(task_id, timeout=10)
    where = eventually(lambda: r if (r := site.house.client.get_result(task_id)).offset is not None else None)
    original = site.house.broker.read_back(site.topic, where.partition, where.offset)
    site.write(original.body, original.header)
    eventually(lambda: site.house.lag() == 0, 10, every=0.2)  # it was looked at
    assert site.ran.count("twice") == 1


def test_a_record_signed_with_an_older_key_is_still_run(site: Site) -> None:
    older = site.house.beside(signing_keys=KEYS[1:])
    task_id = older.client.submit("record", "older")
    assert site.house.client.wait_for_result(task_id, timeout=10).ok


def test_rejected_records_do_not_hold_the_partition_back(site: Site) -> None:
    for _ in range(20):
        site.write(b"rubbish", None)
    eventually(lambda: site.house.lag() == 0, 10, every=0.2)


def test_without_keys_on_loopback_unsigned_records_are_run_but_rubbish_is_not(
    fresh_settings: Callable[..., dict[str, Any]],
) -> None:
    ran: list[str] = []
    with House(fresh_settings(time_scale=0.1, partitions=1)) as house:
        house.worker({"record": ran.append})
        producer = KafkaProducer(bootstrap_servers=house.settings["kafka_servers"])
        for body in (b"rubbish", envelope(args=["foreign"])):
            producer.send(house.settings["topic"], body, headers=[(HEADER, b"1:%d::" % STAMP.at)]).get(timeout=10)
        eventually(lambda: ran == ["foreign"])
        producer.close()


@pytest.mark.parametrize(
    "bad",
    [
        b'"args": [1111111111111111111, NaN]',
        b'"args": [1111111111111111111, 1e999]',
        b'"args": [1111111111111111111, "\\ud800"]',
        b'"opts": {"expires_at": 1e308}',
    ],
)
def test_an_unsigned_record_that_is_not_quite_json_ends_no_worker(
    fresh_settings: Callable[..., dict[str, Any]], bad: bytes
) -> None:
    ran: list[str] = []
    with House(fresh_settings(time_scale=0.1, partitions=1)) as house:
        house.worker({"record": ran.append})
        producer = KafkaProducer(bootstrap_servers=house.settings["kafka_servers"])
        for body in (envelope()[:-1] + b", " + bad + b"}", envelope(args=["after it"])):
            producer.send(house.settings["topic"], body, headers=[(HEADER, b"1:%d::" % STAMP.at)]).get(timeout=10)
        eventually(lambda: ran == ["after it"])
        producer.close()


class Named(str):
    """A header's name as other producers may write it: Kafka asks for no UTF-8."""

    __slots__ = ()

    def encode(self, *_how: str) -> bytes:
        return b"na\xffme"


@pytest.fixture
def unread(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[House]:
    """One partition whose records nobody has read yet; its worker must stop by itself."""
    house = House(new_settings(kafka, redis_server, time_scale=0.1, partitions=1))
    house.broker.ensure_topics([house.settings["topic"]])
    yield house
    house.dismiss()
    eventually(lambda: not any(worker._thread.is_alive() for worker in house._workers), 10)
    house.close()


def test_a_header_name_that_is_not_text_stops_no_worker(unread: House) -> None:
    """The record is judged as if it had none, and those behind it in its batch are read."""
    ran: list[str] = []
    headers = [[(Named(), b"x")], [(Named(), b"x"), (HEADER, b"1:%d::" % STAMP.at)], [(HEADER, b"1:%d::" % STAMP.at)]]
    producer = KafkaProducer(bootstrap_servers=unread.settings["kafka_servers"], linger_ms=500)
    for number, wanted in enumerate(headers):
        producer.send(unread.settings["topic"], envelope(args=[number]), headers=wanted)
    producer.close()
    worker = unread.worker({"record": ran.append}, concurrency=1)
    eventually(lambda: ran == [1, 2])
    eventually(lambda: worker._claimer.rejected == 1)
    unread.ended([unread.client.submit("record", "after")])
    eventually(lambda: unread.lag() == 0, 10, every=0.2)
    offset = unread.broker.read_back(unread.settings["topic"], 0, 1)
    assert offset is not None
    assert offset.header == b"1:%d::" % STAMP.at


def test_a_batch_that_no_library_here_can_unpack_is_put_aside(unread: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    producer = KafkaProducer(bootstrap_servers=unread.settings["kafka_servers"], linger_ms=500, compression_type="gzip")
    for _ in range(3):
        producer.send(unread.settings["topic"], b"x" * 1000)
    producer.close()
    monkeypatch.setattr(codec, "has_gzip", lambda: False)
    worker = unread.worker({"record": ran.append})
    unread.ended([unread.client.submit("record", "after")])
    eventually(lambda: worker._claimer.rejected == 1)
    eventually(lambda: unread.lag() == 0, 10, every=0.2)
    (kept,) = unread.broker.rejected(10, 5).records
    assert kept.preview.startswith("offsets 0 to 2 cannot be read: ")
    assert "gzip" in kept.preview
    assert ran == ["after"]


def test_a_dead_topic_that_was_deleted_is_made_anew_and_good_records_run_meanwhile(
    unread: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_claimer, "REJECT_AGAIN", 3.0)
    dead_topic = unread.settings["dead_topic"]
    worker = unread.worker({"record": lambda _number: None})
    producer = KafkaProducer(bootstrap_servers=unread.settings["kafka_servers"])
    producer.send(unread.settings["topic"], b"rubbish")
    eventually(lambda: worker._claimer.rejected == 1)
    admin = KafkaAdminClient(bootstrap_servers=unread.settings["kafka_servers"])
    admin.delete_topics([dead_topic])
    admin.close()
    for _ in range(5):
        producer.send(unread.settings["topic"], b"rubbish")
    producer.close()
    eventually(lambda: worker._claimer._dead_topic.sentence, 30)
    began = time.monotonic()
    unread.ended([unread.client.submit("record", number) for number in range(10)], 5)
    assert time.monotonic() - began < 5
    eventually(lambda: worker._claimer.rejected == 6, 60, every=0.2)
    assert unread.broker.rejected(10, 5).kept == 5
