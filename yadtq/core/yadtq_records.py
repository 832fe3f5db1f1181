"""Records that kafka-python cannot read: they are taken for rejected ones, and the partition goes on.

kafka-python raises in the middle of a fetch, and its next poll then never ends. A part of `yadtq_broker`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord

logger = logging.getLogger(__name__)


def read_on(consumer: KafkaConsumer) -> KafkaConsumer:
    """The consumer, which from now on reads what it can and goes on behind what it cannot."""
    consumer._fetcher.PartitionRecords = _PartitionRecords
    return consumer


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What one fetch gave of a partition."""

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Any]:
        return super()._unpack_records(tp, _Batches(records, tp, self.fetch_offset), *deserializers)  # type: ignore[no-any-return]

    def take(self, n: int | None = None) -> list[Any]:
        """As the original, which after an error stays the one to read from, and has nothing more to give."""
        try:
            return super().take(n)  # type: ignore[no-any-return]
        except Exception:
            self.drain()
            raise


class _Batches:
    """The batches of one fetch."""

    def __init__(self, records: Any, tp: Any, fetch_offset: int) -> None:
        self._records = records
        self._tp = tp
        self._fetch_offset = fetch_offset

    def next_batch(self) -> _Batch | None:
        batch = self._records.next_batch()
        return None if batch is None else _Batch(batch, self._tp, self._fetch_offset)


class _Batch:
    """One batch, with a record of our own in place of those that cannot be read."""

    def __init__(self, batch: Any, tp: Any, fetch_offset: int) -> None:
        self._batch = batch
        self._tp = tp
        self._intact = bool(batch.validate_crc())
        # Where nothing of the batch can be believed, the fetch goes on from one offset to the next.
        self._first = max(batch.base_offset, fetch_offset)
        self._last: int = batch.last_offset if self._intact and batch.magic == 2 else self._first

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def validate_crc(self) -> bool:
        """It is seen to in the iteration."""
        return True

    @property
    def next_offset(self) -> int:
        return self._last + 1

    def __iter__(self) -> Iterator[Any]:
        try:
            if not self._intact:
                raise CorruptRecordError("the checksum is wrong")
            yield from self._read()
        except Exception as error:  # noqa: BLE001 - of kafka-python, or of any library that unpacks
            yield self._stand_in(error)

    def _read(self) -> Iterator[Any]:
        records = iter(self._batch)
        while True:
            try:
                record = next(records, None)
            except CorruptRecordError:
                if self._batch.magic != 2 or isinstance(self._batch._buffer, _Lenient):
                    raise
                self._batch._buffer = _Lenient(self._batch._buffer)  # the record that failed is read once more
                continue
            if record is None:
                return
            self._first = record.offset + 1
            yield record

    def _stand_in(self, error: Exception) -> DefaultRecord:
        """Without a header, so that it is rejected; what is wrong stands where the task should be."""
        topic, partition = self._tp
        logger.error(
            "records at %s/%d from offset %d to %d cannot be read: %s; what is told of them in the dead topic is all that "
            "is kept. Those of tasks are published again",
            topic,
            partition,
            self._first,
            self._last,
            error,
        )
        text = f"offsets {self._first} to {self._last} cannot be read: {error}".encode()
        written = getattr(self._batch, "max_timestamp", 0)  # older formats have none
        return DefaultRecord(len(text), self._last, written, self._batch.timestamp_type, None, text, [])


class _Lenient(bytearray):
    """Bytes in which the names of headers need not be UTF-8, as Kafka does not ask them to be."""

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        return _Lenient(found) if isinstance(place, slice) else found

    def decode(self, encoding: str = "utf-8", _errors: str = "") -> str:
        return super().decode(encoding, "replace")
