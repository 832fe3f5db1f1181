"""The sender thread: records go to Kafka, their acknowledgements to Redis, both in batches.

It never holds up a submit: what does not fit into its queue, or fails, stays in the outbox,
from where a worker's keeper publishes it again.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable

from yadtq.core.yadtq_broker import Broker, Record
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.errors import BrokerUnavailable, ResultStoreUnavailable

logger = logging.getLogger(__name__)

CAPACITY = 50_000  # records that may wait for the thread and for Kafka's answer: the producer itself has no bound
MAX_BYTES = 64 * 1024 * 1024  # of those records
GATHER = 0.005  # seconds a burst is gathered: one record per request would fight Python's lock
ACK_LINGER = 0.05  # seconds acknowledgements are gathered; nobody waits for them
ACK_BATCH = 500
EXIT_PATIENCE = 5.0  # seconds an ending program waits for what it submitted last


def _log_its_end(loop: Callable[[], None]) -> None:
    """Run a loop; one that fails in a way nobody foresaw is told of."""
    try:
        loop()
    except Exception:
        logger.exception("the sender of records failed, and starts again with the next one; workers send what it held")


class Publisher:
    """Publishes records for one owner; starts its thread with the first record, and again after the thread has failed.

    ``guarded`` runs the thread's loop and minds its failure; its default logs it.
    """

    def __init__(
        self, broker: Broker, store: ResultStore, guarded: Callable[[Callable[[], None]], None] = _log_its_end
    ) -> None:
        self._broker = broker
        self._store = store
        self._guarded = guarded
        self._closing = False
        self._sends = OutageLog(logger, "Kafka", "what it did not take waits in Redis and is sent again")
        self.begin()

    def begin(self) -> None:
        """Hold nothing, without a thread; in a forked process anew: what its parent holds, its parent sends."""
        self._queue: queue.SimpleQueue[Record | None] = queue.SimpleQueue()  # None only wakes the thread
        self._acked: deque[tuple[str, int, int, int]] = deque()
        self._pending = 0  # handed over here, not yet answered by Kafka
        self._pending_bytes = 0
        self._pending_lock = threading.Lock()
        self._idle = threading.Event()
        self._idle.set()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def publish(self, records: list[Record]) -> bool:
        """Hand records over; never waits. False where they do not fit: the outbox has them."""
        fit = self._hold(records)
        if fit:
            for record in records:
                self._queue.put(record)
        if self._thread is None or not self._thread.is_alive():
            self._start()
        return fit

    def _hold(self, records: list[Record]) -> bool:
        """Count records as pending, all or none; what is larger than the bound goes when nothing else is held."""
        size = sum(len(record.body) for record in records)
        with self._pending_lock:
            if self._pending + len(records) > CAPACITY:
                return False
            if self._pending and self._pending_bytes + size > MAX_BYTES:
                return False
            self._pending += len(records)
            self._pending_bytes += size
            self._idle.clear()
            return True

    def close(self, seconds: float = EXIT_PATIENCE) -> None:
        """Send what waits, for at most so long; the rest stays in the outbox. Closing twice is fine."""
        if self._closing:
            return
        deadline = time.monotonic() + seconds
        self._idle.wait(seconds)
        self._closing = True
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(max(0.1, deadline - time.monotonic()))

    def _start(self) -> None:
        with self._start_lock:
            if self._closing:
                return
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._guarded, args=(self._loop,), name="yadtq-publisher", daemon=True
                )
                self._thread.start()
                _close_when_main_ends(self)

    def _loop(self) -> None:
        last_sent = 0.0
        while not self._closing or self._acked:
            try:
                first = self._queue.get(timeout=ACK_LINGER if self._acked else 1.0)
            except queue.Empty:
                first = None
            if first is not None:
                if time.monotonic() - last_sent < GATHER:
                    time.sleep(GATHER)
                self._send_batch(first)
                last_sent = time.monotonic()
            self._confirm()
            self._note_idle()

    def _send_batch(self, record: Record | None) -> None:
        for _ in range(ACK_BATCH):
            if record is not None:
                self._send(record)
            try:
                record = self._queue.get_nowait()
            except queue.Empty:
                return
        if record is not None:
            self._send(record)

    def _send(self, record: Record) -> None:
        """Hand one record to Kafka; what goes wrong with it concerns no other."""
        try:
            self._hand_over(record)
        except Exception:
            logger.exception("task %s could not be sent to Kafka; it waits in Redis and is sent again", record.id)
            self._answered(record)

    def _hand_over(self, record: Record) -> None:
        def acknowledged(partition: int, offset: int) -> None:
            self._acked.append((record.id, record.gen, partition, offset))
            self._answered(record)

        def failed(error: BaseException) -> None:
            self._broker.forget_topic(record.topic)  # it may be gone
            if not self._broker.outage.sentence:  # else it is told already
                self._sends.down(
                    str(error if isinstance(error, BrokerUnavailable) else self._broker.unavailable(error))
                )
            self._answered(record)

        try:
            self._broker.ensure_topics([record.topic])
            self._broker.producer()
        except BrokerUnavailable as error:
            self._broker.outage.down(str(error))
            self._answered(record)
            return
        try:
            self._broker.send(record, acknowledged, failed)
        except BrokerUnavailable as error:
            failed(error)

    def _answered(self, record: Record) -> None:
        with self._pending_lock:
            self._pending -= 1
            self._pending_bytes -= len(record.body)
        if len(self._acked) == 1:
            self._queue.put(None)  # the thread may be waiting for a record with no end

    def _confirm(self) -> None:
        """Tell Redis what Kafka has. A failure loses nothing: a claim clears the outbox as well."""
        while self._acked:
            self._broker.outage.up()
            self._sends.up()
            batch = [self._acked.popleft() for _ in range(min(len(self._acked), ACK_BATCH))]
            try:
                self._store.published(batch)
            except ResultStoreUnavailable as error:
                logger.debug("acknowledgements not noted: %s", error)
                return

    def _note_idle(self) -> None:
        with self._pending_lock:  # else idle could be told of a record that is handed over just now
            if self._pending == 0 and not self._acked:
                self._idle.set()


_open: weakref.WeakSet[Publisher] = weakref.WeakSet()
_exit_lock = threading.Lock()
_exit_thread: threading.Thread | None = None


def _close_when_main_ends(publisher: Publisher) -> None:
    """Have what was submitted last sent before the program ends, closed or not.

    Not by atexit: kafka-python closes its producer there, and in which order the two come is left to chance.
    A thread that is no daemon holds the interpreter before that, from when the main thread has ended.
    """
    global _exit_thread  # noqa: PLW0603 -- one for the process
    with _exit_lock:
        _open.add(publisher)
        if _exit_thread is None:
            _exit_thread = threading.Thread(target=_close_all, name="yadtq-exit")
            _exit_thread.start()


def _close_all() -> None:
    threading.main_thread().join()
    deadline = time.monotonic() + EXIT_PATIENCE
    for publisher in list(_open):
        publisher.close(max(0.0, deadline - time.monotonic()))


def _begin_in_child() -> None:
    """Threads do not live through a fork: each publisher starts its own with its first record here."""
    global _exit_lock, _exit_thread
    _exit_lock, _exit_thread = threading.Lock(), None
    for publisher in list(_open):
        publisher.begin()
    _open.clear()


os.register_at_fork(after_in_child=_begin_in_child)
