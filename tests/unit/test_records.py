"""What a worker makes of a fetch that kafka-python cannot read through."""

from __future__ import annotations

from typing import Any

import pytest
from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.record import MemoryRecords
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.record.util import calc_crc32c

from yadtq.core.yadtq_records import _PartitionRecords

TP = TopicPartition("tasks", 3)


class Named(str):
    """A header's name as another producer may have written it."""

    __slots__ = ()

    def encode(self, *_how: str) -> bytes:
        return b"na\xffme"


def batch(base: int, *headers: Any) -> bytearray:
    """One record for each list of headers, from offset ``base`` on."""
    builder = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=100_000)
    for number, wanted in enumerate(headers, base):
        builder.append(1000, b"key", b"body %d" % number, wanted)
    builder.close()
    made = bytearray(builder.buffer())
    made[:8] = base.to_bytes(8, "big")  # as a broker does
    return made


def fetched(offset: int, *batches: bytearray) -> Any:
    return _PartitionRecords(offset, TP, MemoryRecords(b"".join(batches)))


def test_a_header_name_that_is_not_text_spoils_nothing() -> None:
    part = fetched(0, batch(0, [], [(Named(), b"1"), ("yadtq", b"2")], []), batch(3, []))
    records = part.take(100)
    assert [(record.offset, record.value) for record in records] == [(n, b"body %d" % n) for n in range(4)]
    assert records[1].headers == [("na\ufffdme", b"1"), ("yadtq", b"2")]
    assert (bool(part), part.next_fetch_offset) == (False, 4)


def test_a_fetch_may_begin_behind_it_in_the_same_batch() -> None:
    assert [record.offset for record in fetched(6, batch(5, [(Named(), b"1")], [])).take(100)] == [6]


def test_a_batch_that_cannot_be_unpacked_becomes_one_record_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    unknown = batch(0, [], [], [])
    unknown[22] |= 7  # a compression that nobody knows
    unknown[17:21] = crc(unknown)
    part = fetched(0, unknown, batch(3, []))
    stand_in, good = part.take(100)
    told = "offsets 0 to 2 cannot be read: UnsupportedCodecError: Unrecognized compression type: 7"
    assert (stand_in.offset, stand_in.value.decode(), stand_in.headers) == (2, told, [])
    assert good.offset == 3
    assert [line.getMessage()[:44] for line in caplog.records] == ["records at tasks/3 from offset 0 to 2 cannot"]


def crc(of: bytearray) -> bytes:
    return int(calc_crc32c(memoryview(of)[21:])).to_bytes(4, "big")


def test_of_a_batch_whose_checksum_is_wrong_nothing_is_believed() -> None:
    """Not even how many records it has: the next fetch begins one offset further on."""
    spoilt = batch(5, [], [], [])
    spoilt[-1] ^= 1
    for offset in (5, 6, 7):
        part = fetched(offset, spoilt)
        assert [record.offset for record in part.take(100)] == [offset]
        assert (bool(part), part.next_fetch_offset) == (False, offset + 1)


def test_after_an_error_of_another_kind_there_is_nothing_to_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a poll would look for more for ever."""
    part = fetched(0, batch(0, []))
    monkeypatch.setattr(MemoryRecords, "next_batch", lambda _: (_ for _ in ()).throw(KafkaError("cut off")))
    with pytest.raises(KafkaError, match="cut off"):
        part.take(100)
    assert not part
