"""The sender thread, with a broker and a store that a test plays: nothing waits, nothing is lost from the outbox."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.helpers import eventually
from yadtq.core import yadtq_publisher
from yadtq.core.yadtq_broker import Record
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_publisher import Publisher
from yadtq.errors import BrokerUnavailable, ResultStoreUnavailable

Answer = Callable[[int, int], None]


class Kafka:
    """Takes records as the broker does; answers at once, later, with an error, or not at all."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.answers: list[Answer] = []
        self.failures: list[Callable[[BaseException], None]] = []
        self.refuses = False
        self.bad: set[str] = set()  # ids that raise what nobody foresaw
        self.at_once = True
        self.passable = threading.Event()
        self.passable.set()
        self.forgotten: list[str] = []
        self.outage = OutageLog(logging.getLogger(yadtq_publisher.__name__), "Kafka", "it waits in Redis")

    def producer(self) -> None:
        """Nothing can go wrong here that could not in ensure_topics."""

    def forget_topic(self, topic: str) -> None:
        self.forgotten.append(topic)

    def unavailable(self, error: BaseException) -> BrokerUnavailable:
        return BrokerUnavailable(f"Kafka at k:1 refused ({error})")

    def ensure_topics(self, topics: Iterable[str]) -> None:
        assert self.passable.wait(10)
        if self.refuses:
            raise BrokerUnavailable("Kafka at k:1 cannot be reached")

    def send(self, record: Record, acknowledged: Answer, failed: Callable[[BaseException], None]) -> None:
        if record.id in self.bad:
            raise ValueError("Unrecognized partition 6")
        self.sent.append(record)
        if self.at_once:
            acknowledged(3, len(self.sent))
        else:
            self.answers.append(acknowledged)
            self.failures.append(failed)


class Redis:
    """Notes acknowledgements, or is away."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[str, int, int, int]]] = []
        self.away = False
        self.breaks = False  # in a way nobody foresaw

    def published(self, records: Iterable[tuple[str, int, int, int]]) -> None:
        if self.breaks:
            raise RuntimeError("unforeseen")
        if self.away:
            raise ResultStoreUnavailable("Redis at r:1 cannot be reached")
        self.batches.append(list(records))

    @property
    def noted(self) -> list[tuple[str, int, int, int]]:
        return [entry for batch in self.batches for entry in batch]


@pytest.fixture
def kafka() -> Kafka:
    return Kafka()


@pytest.fixture
def store() -> Redis:
    return Redis()


@pytest.fixture
def publisher(kafka: Kafka, store: Redis) -> Iterator[Publisher]:
    made = Publisher(kafka, store)  # type: ignore[arg-type]
    yield made
    kafka.passable.set()
    made.close(0)
    if made._thread is not None:
        made._thread.join(10)
        assert not made._thread.is_alive()


def records(*numbers: int) -> list[Record]:
    return [Record(f"t{number}", 1, "topic", b"{}", b"1::", 0) for number in numbers]


def test_no_thread_before_the_first_record(publisher: Publisher) -> None:
    assert publisher._thread is None
    publisher.close(0.1)
    assert publisher._thread is None


def test_records_go_to_kafka_in_order_and_their_places_to_redis(
    publisher: Publisher, kafka: Kafka, store: Redis
) -> None:
    publisher.publish(records(*range(5)))
    eventually(lambda: len(store.noted) == 5)
    assert kafka.sent == records(*range(5))
    assert store.noted == [(f"t{number}", 1, 3, number + 1) for number in range(5)]


def test_a_burst_is_acknowledged_in_few_batches(publisher: Publisher, store: Redis) -> None:
    publisher.publish(records(*range(2000)))
    eventually(lambda: len(store.noted) == 2000)
    assert len(store.batches) <= 10


def test_publishing_never_waits_for_kafka(publisher: Publisher, kafka: Kafka, store: Redis) -> None:
    kafka.passable.clear()
    begun = time.monotonic()
    for number in range(1000):
        publisher.publish(records(number))
    assert time.monotonic() - begun < 1.0
    assert kafka.sent == []
    kafka.passable.set()
    eventually(lambda: len(store.noted) == 1000)


def test_what_does_not_fit_is_left_to_the_outbox(
    publisher: Publisher, kafka: Kafka, store: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_publisher, "CAPACITY", 10)
    kafka.passable.clear()
    assert publisher.publish(records(0))
    eventually(lambda: publisher._queue.qsize() == 0)  # in the thread's hands, which waits for Kafka
    assert publisher.publish(records(*range(1, 8)))
    assert not publisher.publish(records(*range(100, 103)))  # one too many: none of them
    assert publisher.publish(records(8, 9))
    kafka.passable.set()
    eventually(lambda: len(store.noted) == 10)
    assert kafka.sent == records(*range(10))


def answer_all(kafka: Kafka) -> None:
    while kafka.answers:
        kafka.answers.pop()(3, 1)


def test_no_more_records_are_held_than_the_bound_while_kafka_does_not_answer(
    publisher: Publisher, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_publisher, "CAPACITY", 100)
    kafka.at_once = False
    taken = 0
    for start in range(0, 2000, 10):
        taken += 10 * publisher.publish(records(*range(start, start + 10)))
        eventually(lambda: publisher._queue.qsize() == 0)  # the producer has them, which has no bound of its own
    assert taken == len(kafka.sent) == 100
    answer_all(kafka)
    assert publisher.publish(records(*range(100)))


def test_no_more_bytes_are_held_than_the_bound_while_kafka_does_not_answer(
    publisher: Publisher, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yadtq_publisher, "MAX_BYTES", 10_000)
    kafka.at_once = False
    big = Record("t", 1, "topic", b"x" * 1000, b"1::", 0)
    assert [publisher.publish([big]) for _ in range(50)].count(True) == 10
    eventually(lambda: len(kafka.answers) == 10)
    assert not publisher.publish([big])
    answer_all(kafka)
    assert publisher.publish([big] * 11)  # more than ever fit, but nothing else is held


def test_a_refused_send_is_logged_once_and_the_rest_goes_on(
    publisher: Publisher, kafka: Kafka, store: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger=yadtq_publisher.__name__)
    kafka.refuses = True
    for number in range(3):
        publisher.publish(records(number))
    eventually(lambda: publisher._queue.qsize() == 0 and publisher._pending == 0 and caplog.records)
    kafka.refuses = False
    publisher.publish(records(7))
    eventually(lambda: store.noted == [("t7", 1, 3, 1)])
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "Kafka at k:1 cannot be reached; it waits in Redis"
    eventually(lambda: len(caplog.records) == 2)
    assert "answers again" in caplog.records[1].getMessage()


def test_a_failed_delivery_is_not_acknowledged(publisher: Publisher, kafka: Kafka, store: Redis) -> None:
    kafka.at_once = False
    publisher.publish(records(1, 2))
    eventually(lambda: len(kafka.answers) == 2)
    kafka.failures[0](BrokerUnavailable("timed out"))
    kafka.answers[1](5, 50)
    eventually(lambda: store.noted)
    assert store.noted == [("t2", 1, 5, 50)]


def test_a_bad_record_takes_no_other_with_it(
    publisher: Publisher, kafka: Kafka, store: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.bad.add("t1")
    publisher.publish(records(0, 1, 2))
    eventually(lambda: len(store.noted) == 2)
    publisher.publish(records(3))
    publisher.close(10)  # nor is it waited for
    assert kafka.sent == records(0, 2, 3)
    assert [record.getMessage() for record in caplog.records] == [
        "task t1 could not be sent to Kafka; it waits in Redis and is sent again"
    ]


def test_a_thread_that_fails_says_so_and_starts_again_with_the_next_record(
    publisher: Publisher, kafka: Kafka, store: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    store.breaks = True
    publisher.publish(records(1))
    first = publisher._thread
    assert first is not None
    eventually(lambda: not first.is_alive())
    assert [record.getMessage() for record in caplog.records] == [
        "the sender of records failed, and starts again with the next one; workers send what it held"
    ]
    store.breaks = False
    publisher.publish(records(2))
    eventually(lambda: store.noted == [("t2", 1, 3, 2)])
    assert kafka.sent == records(1, 2)


def test_an_owner_can_mind_the_thread_itself(kafka: Kafka, store: Redis) -> None:
    failures: list[Exception] = []

    def guarded(loop: Callable[[], None]) -> None:
        try:
            loop()
        except RuntimeError as error:
            failures.append(error)

    store.breaks = True
    publisher = Publisher(kafka, store, guarded)  # type: ignore[arg-type]
    publisher.publish(records(1))
    eventually(lambda: failures)
    publisher.close(0)


def test_redis_away_loses_only_notes(publisher: Publisher, kafka: Kafka, store: Redis) -> None:
    """The outbox entry stays; a claim or the next publication clears it."""
    store.away = True
    publisher.publish(records(1))
    eventually(lambda: kafka.sent and not publisher._acked)
    store.away = False
    publisher.publish(records(2))
    eventually(lambda: store.noted == [("t2", 1, 3, 2)])


def test_a_late_acknowledgement_is_noted_without_a_new_record(publisher: Publisher, kafka: Kafka, store: Redis) -> None:
    """It wakes the thread, which else sleeps for a second; the best of a few tries, as machines stall."""
    kafka.at_once = False
    waits = []
    for number in range(3):
        publisher.publish(records(number))
        eventually(lambda number=number: len(kafka.answers) > number)  # type: ignore[misc]
        time.sleep(0.02)  # the thread waits for the next record by now
        answered = time.monotonic()
        kafka.answers[number](3, 9)
        eventually(lambda number=number: len(store.noted) > number)  # type: ignore[misc]
        waits.append(time.monotonic() - answered)
    assert min(waits) < 0.5


def test_closing_sends_what_waits(publisher: Publisher, kafka: Kafka, store: Redis) -> None:
    publisher.publish(records(*range(500)))
    publisher.close(10)
    assert len(kafka.sent) == 500
    assert len(store.noted) == 500
    assert publisher._thread is not None
    assert not publisher._thread.is_alive()


def test_closing_waits_for_acknowledgements(publisher: Publisher, kafka: Kafka, store: Redis) -> None:
    kafka.at_once = False
    publisher.publish(records(1))
    eventually(lambda: kafka.answers)
    threading.Timer(0.1, lambda: kafka.answers[0](3, 9)).start()
    publisher.close(10)
    assert store.noted == [("t1", 1, 3, 9)]


def test_closing_does_not_wait_for_ever(publisher: Publisher, kafka: Kafka) -> None:
    kafka.at_once = False
    publisher.publish(records(1))
    begun = time.monotonic()
    publisher.close(0.2)
    assert 0.2 <= time.monotonic() - begun < 1.5
    publisher.close(0.1)  # closing twice is fine


def test_after_closing_nothing_is_sent(publisher: Publisher, kafka: Kafka) -> None:
    publisher.publish(records(1))
    publisher.close(10)
    publisher.publish(records(2))
    assert kafka.sent == records(1)
    assert publisher._queue.qsize() <= 1


def test_many_threads_share_one_publisher(publisher: Publisher, kafka: Kafka, store: Redis) -> None:
    def publish(start: int) -> None:
        for number in range(start, start + 200):
            publisher.publish(records(number))

    others = set(threading.enumerate())  # of clients that other tests have left to the interpreter's end
    threads = [threading.Thread(target=publish, args=(start,)) for start in range(0, 1600, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    publisher.close(10)
    assert sorted(int(record.id[1:]) for record in kafka.sent) == list(range(1600))
    assert len(store.noted) == 1600
    running = {thread.name for thread in set(threading.enumerate()) - others}
    assert running <= {"yadtq-exit"}  # one a process, which waits for its end
