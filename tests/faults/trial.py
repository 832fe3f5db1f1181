"""One fault test: a cluster, a client, workers, a nemesis, watchers, and in the end the oracle's verdict."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from tests.faults.children import Child
from tests.faults.cluster import Cluster, past_the_proxies
from tests.faults.nemesis import Fault, Nemesis
from tests.faults.oracle import (
    Verdict,
    judge_outcomes,
    judge_runs,
    longest_standstill,
    re_executions,
    read_runs,
    rejoin_delay,
)
from tests.faults.producer import SHORT, Producer
from tests.faults.report import Figure, Record, write_record
from tests.faults.watchers import OffsetWatcher, OutcomeWatcher
from tests.faults.workers import Crew
from tests.helpers import House, eventually, new_settings
from yadtq.core.yadtq_task import TaskStatus
from yadtq.errors import ResultStoreUnavailable

logger = logging.getLogger(__name__)

LOOK_AT_LEAST_EVERY = 10.0  # seconds, on the average: so often the commits are looked at, also while servers are away
# Where `make soak` wants each trial's record.
REPORT_FOLDER = Path(folder) if (folder := os.environ.get("SOAK_REPORT")) else None


class Trial:
    """Use it as a context manager; ``settings`` are the workers' and the client's, ``options`` the workers'."""

    reported = True  # whether it has its place in the soak's report

    def __init__(
        self, name: str, cluster: Cluster, folder: Path, seed: int, settings: dict[str, Any], **options: Any
    ) -> None:
        self.name = name
        self.cluster = cluster
        self.folder = folder
        self.seed = seed
        self.nemesis = Nemesis(seed)
        self.redis = cluster.new_redis(seed)
        servers = new_settings(cluster.kafka.server, self.redis.now)
        self.settings = {**servers, "time_scale": 1.0, **settings, "redis_url": self.redis.clients_url}
        self.house = House(self.settings)
        self.producer = Producer(self.house.client, seed)
        self.crew = Crew(folder, {**self.settings, "redis_url": self.redis.workers_url}, **options)
        self._outcomes = OutcomeWatcher(self.house)
        self._offsets = OffsetWatcher(self.house, past_the_proxies(cluster.kafka.server))
        self.verdict = Verdict()
        self.figures: list[Figure] = []
        self._begun_at = time.time()

    def __enter__(self) -> Trial:
        logger.warning("seed %d", self.seed)
        self._outcomes.start()
        self._offsets.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as ends:  # the last one first, and each whatever another one raises
            ends.callback(self.cluster.kafka.mend)
            ends.callback(self.redis.stop)
            ends.callback(self.house.close)
            ends.callback(self._offsets.stop)
            ends.callback(self._outcomes.stop)
            ends.callback(self.crew.end)
        if REPORT_FOLDER and self.reported:
            write_record(REPORT_FOLDER, self._record(passed=error is None))

    def start_workers(self, count: int, **settings: Any) -> None:
        """Start so many and return once each of them has beaten."""
        names = {worker.name for worker in self.crew.start(count, **settings)}
        eventually(lambda: names <= {worker.name for worker in self.house.views.workers() if worker.online}, 60)

    def wait_for_balance(self) -> None:
        """Wait until the workers that run have shared all partitions out, and evenly."""
        topic, partitions = self.house.broker.topic_of("default"), self.house.store.settings.partitions

        def balanced() -> bool:
            names = {worker.name for worker in self.crew.running}
            held = [len(each.partitions.get(topic, ())) for each in self.house.views.workers() if each.name in names]
            return len(held) == len(names) and sum(held) == partitions and max(held) - min(held) <= 1

        eventually(balanced, 60, every=0.1)

    def kill_a_worker(self, random: Random) -> str:
        """SIGKILL one of the running workers and start a new one at once."""
        victim = random.choice(self.crew.running)
        victim.kill()
        self.crew.start()
        return f"kill -9 of worker {victim.name}"

    def running_in(self, worker: Child) -> set[str]:
        """The tasks under way in a worker, by what it wrote down."""
        return {run.id for run in read_runs(self.folder) if run.pid == worker.pid and run.ended_at is None}

    def hold(self, what: str, value: float, at_most: float, *, recovery: bool = False) -> None:
        """A figure that must not be higher than promised; kept for the report, which tells times to recovery apart."""
        self.figures.append(Figure(what, value, at_most, recovery))
        logger.warning("figure: %s %.1f, at most %g", what, value, at_most)
        assert value <= at_most, f"{what}: {value:g}, more than {at_most:g}"

    def hold_standstill(self, at_most: float) -> None:
        """The longest time in which a partition began no task although one of them waited."""
        results = self.house.views.tasks_by_id(self.producer.ledger.promises)
        seconds = longest_standstill(self.verdict.runs, results)
        self.hold("seconds a partition stood still", seconds, at_most, recovery=True)

    def note(self, what: str, value: float) -> None:
        """A figure of which nothing is promised."""
        self.figures.append(Figure(what, value))
        logger.warning("figure: %s %.1f", what, value)

    def done(self) -> int:
        """How many of the tasks have ended, by what was heard so far."""
        return len(self._outcomes.ended_at)

    @property
    def ended_at(self) -> dict[str, float]:
        """When each task ended, seconds since the epoch."""
        return self._outcomes.ended_at

    def only_in_redis(self, since: float, until: float) -> set[str]:
        """Tasks accepted in that time whose record Kafka never got: a Redis that loses that time may lose them."""
        promises = self.producer.ledger.promises
        return {task_id for task_id, promise in promises.items() if since <= promise.at <= until} - self._offsets.seen

    def uncommitted(self) -> set[str]:
        """Tasks with a record that was not committed yet when the commits were last looked at."""
        return self._offsets.uncommitted

    def wait_for_done(self, count: int, timeout: float) -> None:
        """Wait until so many tasks have ended."""
        eventually(lambda: self.done() >= count, timeout, every=0.1)

    def judge(self, within: float, may_be_lost: Callable[[], set[str]] = set) -> Verdict:
        """Wait until every accepted task has ended, at most so many seconds, and hear the oracle.

        ``may_be_lost`` gives tasks that are not waited for, and excused where they are lost.
        """
        self.producer.join()
        deadline, left = time.monotonic() + within, set(self.producer.ledger.promises)
        while left - may_be_lost() and time.monotonic() < deadline:
            left -= self._ended(left)
            time.sleep(0.2)
        settled = self._offsets.samples + 3  # a few more looks at what is committed now
        eventually(lambda: self._offsets.samples >= settled, 60)
        return self._judge_now(may_be_lost())

    def hold_each_once(self, but: Container[str] = ()) -> None:
        """No attempt of any task ran twice: for faults that excuse no second run, ``but`` of these tasks."""
        self.hold("re-executions", re_executions(self.verdict.runs, but), at_most=0)

    def wait_for_rejoin(self, workers: Sequence[Child], since: float, timeout: float) -> None:
        """Give everybody something to do until each of these workers has begun a task submitted since then.

        By a client that no fault has met: the other one may still wait for what its link has swallowed.
        """
        pids = {worker.pid for worker in workers}
        fresh = Producer(self.house.beside().client, self.seed, self.producer.ledger)

        def all_work() -> bool:
            for number in range(self.house.store.settings.partitions):
                fresh.submit("square", number, SHORT)
            new = self._submitted_since(since)
            return pids <= {run.pid for run in read_runs(self.folder) if run.id in new}

        eventually(all_work, timeout, every=0.5)

    def hold_rejoin(self, workers: Sequence[Child], since: float, at_most: float, *, renewed: bool = False) -> None:
        """How long each of these workers took to a run that was accepted, of a task submitted since then."""
        results = self.house.views.tasks_by_id(self._submitted_since(since))
        delays = [rejoin_delay(self.verdict.runs, results, each.pid, since, renewed=renewed) for each in workers]
        self.hold("seconds from the return until each worker had an accepted run", max(delays), at_most, recovery=True)

    def all_accepted(self) -> None:
        """No submit was refused: for faults that a client need not notice."""
        assert self.producer.ledger.errors == []

    def looked_on(self, fault: Fault) -> None:
        """The commits were looked at while this fault lasted: for faults that do not keep the watcher from it."""
        looks = sum(fault.begun_at < at < fault.over_at for at in self._offsets.looked_at)
        due = (fault.over_at - fault.begun_at) / LOOK_AT_LEAST_EVERY
        assert looks >= due, f"only {looks} looks at the commits while {fault.what}"

    def _submitted_since(self, moment: float) -> set[str]:
        promises = self.producer.ledger.promises.copy()  # its own thread may go on submitting
        return {task_id for task_id, promise in promises.items() if promise.at > moment}

    def _ended(self, ids: set[str]) -> set[str]:
        """Those of the tasks that have ended or are kept no longer; none while Redis is away."""
        try:
            found = self.house.views.tasks_by_id(ids)
        except ResultStoreUnavailable:
            return set()
        return {task_id for task_id in ids if (found[task_id].done if task_id in found else task_id in self.ended_at)}

    def _judge_now(self, may_be_lost: set[str]) -> Verdict:
        verdict, ledger = self.verdict, self.producer.ledger
        self._outcomes.note(list(ledger.promises))
        judge_runs(verdict, read_runs(self.folder), set(ledger.promises) | ledger.uncertain)
        judge_outcomes(verdict, ledger, self.house.views.tasks_by_id(ledger.promises), self._outcomes.outcomes)
        verdict.excuse(may_be_lost)
        verdict.too_early = self._offsets.too_early
        verdict.samples = self._offsets.samples
        verdict.samples_due = int((time.time() - self._begun_at) / LOOK_AT_LEAST_EVERY)
        verdict.still_running = [result.id for result in self.house.views.tasks(TaskStatus.PROCESSING, limit=100).items]
        verdict.tracebacks = self.crew.tracebacks()
        logger.warning("verdict: %s, %d looks at commits", verdict.summary(), verdict.samples)
        return verdict

    def _record(self, *, passed: bool) -> Record:
        return Record(
            test=self.name,
            seed=self.seed,
            passed=passed,
            begun_at=self._begun_at,
            summary=self.verdict.summary(),
            submit_errors=len(self.producer.ledger.errors),
            figures=self.figures,
            faults=self.nemesis.faults,
            ended_at=sorted(self.ended_at.values()),
        )
