"""The worker: its start and its end, and the wiring of what polls, claims, runs, finishes, beats and keeps house.

Threads of one worker: the poll loop (sole user of the Kafka consumer), claimer, the pool's slots and its time limits,
finisher, heartbeat, reporter, keeper, watch, and the publisher from its first record on. In the process pool each slot's
thread has a child process that runs its tasks.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from yadtq import _version
from yadtq.api import yadtq_child
from yadtq.api.yadtq_naming import default_name
from yadtq.api.yadtq_registry import Handlers, build_functions, describe_function
from yadtq.config import POOLS
from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_claimer import Claimer
from yadtq.core.yadtq_control import Control
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_drain import Drain
from yadtq.core.yadtq_execution import ChildExecutor, Executor, TaskFunction
from yadtq.core.yadtq_finisher import Finisher
from yadtq.core.yadtq_heartbeat import About, Heartbeat
from yadtq.core.yadtq_intake import Intake
from yadtq.core.yadtq_keeper import Keeper
from yadtq.core.yadtq_lease import Abandoned, Lease
from yadtq.core.yadtq_outage import OutageLog
from yadtq.core.yadtq_polling import Poller
from yadtq.core.yadtq_pools import Pool, Slot, ThreadPool
from yadtq.core.yadtq_processes import ProcessPool
from yadtq.core.yadtq_publisher import Publisher
from yadtq.core.yadtq_recovery import Recovery
from yadtq.core.yadtq_reporter import Reporter
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_task import check_name
from yadtq.core.yadtq_watch import Watch
from yadtq.errors import BrokerUnavailable, ConfigError, ResultStoreUnavailable, WorkerFailed

logger = logging.getLogger(__name__)

KEEP_PARTITIONS = 60.0  # seconds a paused worker keeps its partitions from the others
KEEP_ALONE = 10.0  # the same for one that is there for suspects alone
KEEP_UNABLE = 10.0  # the same for one whose child processes have died and cannot be started


class TaskWorker:
    """Takes tasks from its queues and runs them on threads, or in child processes, until stopped.

    Args:
        task_handlers: functions by name, or functions marked with ``@task``.
        pool: "thread", or "process" for child processes, each with one task at a time.
        concurrency, queues, name, grace: instead of the settings of the same names.
        target: ``MODULE[:NAME]`` with which `yadtq worker` starts another one like it; the dashboard says so.

    Raises:
        ConfigError, InvalidName: nothing to run, a name that cannot be used, or a function that a child cannot load.
    """

    def __init__(
        self,
        broker: Broker,
        result_store: ResultStore,
        task_handlers: Handlers,
        *,
        concurrency: int | None = None,
        queues: Iterable[str] | None = None,
        name: str | None = None,
        grace: float | None = None,
        pool: str | None = None,
        target: str = "",
    ) -> None:
        settings = result_store.settings
        self._broker = broker
        self._store = result_store
        self.name = check_name("worker", name or settings.worker_name or default_name())
        self._grace = settings.grace if grace is None else grace
        functions = build_functions(task_handlers)
        if not functions:
            raise ConfigError("a worker needs at least one task: give task_handlers={'add': add}")
        slots = settings.concurrency if concurrency is None else concurrency
        if slots < 1:
            raise ConfigError(f"concurrency must be at least 1, not {slots}")
        kind = settings.pool if pool is None else pool
        self._queue_of = {broker.topic_of(queue): queue for queue in (queues or settings.queues)}
        self._stop = threading.Event()
        self._abort = threading.Event()
        self._pid = os.getpid()
        self._broken = ""  # why the worker cannot go on
        self._thread: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        about = About(
            self.name,
            socket.gethostname(),
            _version.__version__,
            tuple(self._queue_of.values()),
            slots,
            kind,
            [describe_function(function) for function in functions.values()],
            target,
        )
        self._pool = self._make_pool(kind, slots, functions)
        self._wire(about)

    def _make_pool(self, kind: str, slots: int, functions: dict[str, TaskFunction]) -> Pool[Delivery, Any]:
        settings = self._store.settings
        if kind not in POOLS:
            raise ConfigError(f"pool must be thread or process, not {kind!r}")
        if kind == "process":
            children = ChildExecutor(functions, settings, self._ended)
            launch = yadtq_child.launch(functions, settings)
            return ProcessPool(slots, children.execute, launch, settings.timeout_grace)
        executor = Executor(functions, settings, self._ended)

        def give_up(delivery: Delivery, slot: Slot[Delivery]) -> None:
            executor.give_up(delivery, slot)
            if not self._pool.capacity:
                self._break("all its threads hang in tasks that passed their time limit")

        return ThreadPool(slots, executor.execute, give_up, settings.timeout_grace)

    def _wire(self, about: About) -> None:
        store, broker = self._store, self._broker
        self._intake = Intake(self._queue_of, store.settings.time_scale, lambda: self._claimer.wake())  # noqa: PLW0108 -- made later
        self._recovery = Recovery(
            store,
            broker,
            self.name,
            lambda: self._poller.rewind.set(),  # noqa: PLW0108 -- made later
            lambda delivery: self._finisher.put(delivery),  # noqa: PLW0108 -- made later
        )
        self._lease = Lease(self._intake.settle, self._recovery.new_era)
        self._claimer = Claimer(store, broker, self._intake, self._lease, self._pool, self.name, self._recovery.fenced)
        self._finisher = Finisher(store, self._lease, self.name, self._made_room)
        self._publisher = Publisher(broker, store, self._guarded)
        self._control = Control(self._claimer, self._intake, self._lease, self.name, self._stop)
        self._poller = Poller(
            broker, list(self._queue_of), self._intake, self._lease, self.name, self._stop, self._gives_way
        )
        self._drain = Drain(store, self._claimer, self._pool, self._lease, self._poller, self.name, self._abort)
        self._heartbeat = Heartbeat(
            store, self._lease, self._pool, about, self._state, self._recovery.fenced, self._control.obey
        )
        self._reporter = Reporter(store, self._pool)
        self._keeper = Keeper(store, broker, self._lease, self._publisher)
        self._watch = Watch(store, broker, self._queue_of, lambda: self._claimer.rejected)
        self._recovery.lease, self._recovery.heartbeat = self._lease, self._heartbeat

    # -- what the parts tell each other ----------------------------------------------------------------

    def _ended(self, delivery: Delivery) -> None:
        self._finisher.put(delivery)

    def _made_room(self, count: int) -> None:
        self._claimer.pace.ended(count)
        self._claimer.wake()

    def _state(self) -> dict[str, Any]:
        partitions: dict[str, list[int]] = {}
        for topic, partition in sorted(self._poller.assigned):
            partitions.setdefault(topic, []).append(partition)
        return {
            "partitions": partitions,
            "done": self._finisher.done,
            "failed": self._finisher.failed,
            "kafka": self._broker.outage.sentence,
            "stopping": self._stop.is_set(),
            "paused": round(self._claimer.paused_for, 3),
            "alone": round(self._claimer.alone_for, 3),
        }

    def _gives_way(self) -> str:
        scale = self._store.settings.time_scale
        if self._watch.lets_go:
            self._intake.keep_only(set())  # nothing of the old topic is to be committed for the new one
            return "leaves its group for a moment, since a topic was deleted"
        if self._claimer.paused_for > KEEP_PARTITIONS * scale:
            return "has been paused for long"
        if self._claimer.alone_for > KEEP_ALONE * scale:
            return "runs nothing beside a task with which two workers died"
        if self._pool.unable_for > KEEP_UNABLE * scale:
            return "has no child process that could run a task"
        return ""

    def _break(self, why: str) -> None:
        """Stop, since the worker cannot go on; its ``run`` raises."""
        logger.error("worker %s stops: %s", self.name, why)
        self._broken = why
        self._stop.set()

    # -- starting and stopping ------------------------------------------------------------------------

    def run(self) -> None:
        """Work until :meth:`stop`, or until SIGTERM or SIGINT where this is the main thread; a second signal ends it at once.

        Raises:
            ConfigError: the process pool's children cannot load the task functions, or it was made before a fork.
            WorkerFailed: it cannot go on: all its threads hang, or a part of it failed.
        """
        self._refuse_here()
        in_main = threading.current_thread() is threading.main_thread()
        previous = (
            {number: signal.signal(number, self._on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
            if in_main
            else {}
        )
        try:
            self._work()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._broken:
            raise WorkerFailed(f"worker {self.name} stopped: {self._broken}; start it again")

    def start(self) -> TaskWorker:
        """Work in a thread of its own; returns at once, see :meth:`wait_ready`. Starting twice starts once.

        Raises:
            ConfigError: it has been stopped, or was made before a fork; make a new worker.
        """
        self._refuse_here()
        if self._stop.is_set():
            raise ConfigError(f"worker {self.name} has been stopped and cannot be started again; make a new TaskWorker")
        if self._thread is not None:
            return self
        self._thread = threading.Thread(target=self._work_aside, name=f"yadtq-worker-{self.name}", daemon=True)
        self._thread.start()
        return self

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until the worker has partitions to take tasks from; False when ``timeout`` seconds pass before."""
        return self._poller.ready.wait(timeout)

    def stop(self, *, wait: bool = True) -> None:
        """Claim no more, let running tasks finish within the grace time, hand the rest back. Stopping twice is fine."""
        self._stop.set()
        if wait and self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _on_signal(self, number: int, _frame: object) -> None:
        if os.getpid() != self._pid:
            yadtq_child.end_by(number)
            return
        if self._stop.is_set():
            self._abort.set()
            return
        self._stop.set()  # first: a log that hangs shall not keep a worker from stopping
        logger.info(
            "worker %s stops on %s; running tasks have %g s", self.name, signal.Signals(number).name, self._grace
        )

    # -- the loop ---------------------------------------------------------------------------------------

    def _refuse_here(self) -> None:
        """Raise ConfigError in a process that is not to run this worker."""
        if os.getpid() != self._pid:
            raise ConfigError(
                f"worker {self.name} was made before a fork, and two processes would work under one identity: make the TaskWorker in the process that runs it"
            )
        if yadtq_child.in_child.is_set():
            raise ConfigError(
                "a worker was started while a child process of its pool loaded the script: put what starts it under if __name__ == '__main__'"
            )

    def _work_aside(self) -> None:
        try:
            self._work()
        except ConfigError as error:
            logger.error("worker %s cannot start: %s", self.name, error)

    def _work(self) -> None:
        try:
            self._pool.start(self._guarded)
            self._pool.wait_ready(self._stop.is_set)  # not after the first beat: children may take long to load
            if not self._meet_redis():
                return
            self._start_threads(self._heartbeat, self._keeper)  # before Kafka, which may be long in coming
            if not self._meet_kafka():
                return
            self._start_threads(self._claimer, self._finisher, self._reporter, self._watch)
            self._poller.poll_until(self._stop.is_set)
            self._drain.run(self._grace)
        finally:
            self._shut_down()

    def _meet_redis(self) -> bool:
        """Say that it is there, with growing pauses until Redis hears it; False when stopped meanwhile."""
        logger.info("worker %s: queues %s, %d slots", self.name, ", ".join(self._queue_of.values()), self._pool.size)
        pauses, redis_log = _growing(), OutageLog(logger, "Redis", "the worker tries again")
        while not self._stop.is_set():
            try:
                sent_at = time.monotonic()
                self._lease.believe(self._store.beat(self._lease.inc, *self._heartbeat.message()), sent_at)
                redis_log.up()
                return True
            except ResultStoreUnavailable as error:
                redis_log.down(str(error))
            self._stop.wait(next(pauses))
        return False

    def _meet_kafka(self) -> bool:
        """Become a member of the workers' group, as patiently; False when stopped meanwhile."""
        pauses = _growing()
        while not self._stop.is_set():
            try:
                self._watch.expect_topics()
                self._poller.join()
                return True
            except ResultStoreUnavailable as error:
                logger.debug("the worker joins later: %s", error)  # the heartbeat tells of the outage
            except BrokerUnavailable as error:
                self._broker.outage.down(str(error))
            self._stop.wait(next(pauses))
        return False

    def _start_threads(self, *parts: Any) -> None:
        for part in parts:
            thread = threading.Thread(
                target=self._guarded, args=(part.loop,), name=f"yadtq-{type(part).__name__.lower()}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _guarded(self, loop: Callable[[], None]) -> None:
        """A part that fails in a way nobody foresaw ends the worker: silent and half alive would be worse."""
        try:
            loop()
        except Exception:
            logger.exception("a thread of worker %s failed", self.name)
            self._break("one of its threads failed")

    # -- the end ----------------------------------------------------------------------------------------

    def _shut_down(self) -> None:
        """Parts that claim and run first, then those that write down, then the connections."""
        self._stop.set()
        self._lease.abandon.set()
        self._claimer.stop()
        self._pool.stop()
        self._finisher.stop()
        self._heartbeat.stop()
        self._reporter.stop()
        self._keeper.stop()
        self._watch.stop()
        for thread in self._threads:
            thread.join(timeout=3)
        self._publisher.close(2.0)
        self._leave()
        logger.info("worker %s has stopped", self.name)

    def _leave(self) -> None:
        try:
            if self._lease.era is not None:
                self._take_leave()
        except ResultStoreUnavailable as error:
            logger.warning("%s; the worker's page shows it as offline", error)
        except Abandoned as error:
            logger.warning("%s; the worker's page shows it as offline", error.__cause__)
        self._leave_group()

    def _take_leave(self) -> None:
        """Off the list of workers; a Redis that has gone back meanwhile is told first what has ended here."""
        while True:
            reply = self._store.release(self._lease.inc, [], leave=True, era=self._lease.era or "")
            if reply.era == self._lease.era:
                return
            self._recovery.new_era(reply.era)
            self._finisher.stop()
            while not self._finisher.idle:  # its thread may have ended before what it was told to end after
                self._finisher.loop()

    def _leave_group(self) -> None:
        try:
            self._poller.leave()
        except BrokerUnavailable as error:
            logger.warning("%s; others take over after the session timeout", error)


def _growing() -> Iterator[float]:
    """Seconds to wait between two tries."""
    pause = 0.1
    while True:
        yield pause
        pause = min(pause * 2, 5.0)
