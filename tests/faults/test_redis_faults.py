"""Redis is killed, emptied, and replaced by a replica that lacks its last seconds."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from tests.faults.children import Child
from tests.faults.conftest import Form, NewTrial
from tests.faults.nemesis import Fault
from tests.faults.oracle import read_runs
from tests.faults.producer import SHORT, Producer, Promise
from tests.faults.producer_main import key_of, read_ids
from tests.faults.trial import Trial
from tests.faults.web_page import LivePage
from tests.helpers import eventually
from yadtq import TaskStatus

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

WORKING_AGAIN = 15.0  # seconds from Redis' return to the next accepted submit, and until every worker works
TOLD_AGAIN = 5.0  # seconds: what has ended in them, workers tell a Redis that went back or is empty
PAGE_CATCHES_UP = 5.0  # seconds from Redis' return until a live page shows what it holds
SUBMIT_FAILS = 5.0  # seconds within which a submit returns an id or raises
UNTOLD = range(1000, 1016)  # numbers whose submits have not returned when their client and Redis die
NOWHERE = "127.0.0.1:1"  # nothing listens there
DELAY = 3.0  # seconds; a delayed task is in Redis alone until it is due


@contextmanager
def delayed_tasks(trial: Trial) -> Iterator[None]:
    """While the block runs, ten tasks a second that Kafka does not have yet when Redis goes."""
    over = threading.Event()

    def submit() -> None:
        for number in itertools.count(1_000_000):
            trial.producer.submit("square", number, SHORT, delay=DELAY)
            if over.wait(0.1):
                return

    thread = threading.Thread(target=submit, name="delayed", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)


def start_four_workers(trial: Trial) -> None:
    """While partitions move, what had ended may run again where Redis forgets it: its record is another worker's by then."""
    trial.start_workers(4)
    trial.wait_for_balance()


def judge_but(trial: Trial, may_be_lost: Callable[[], set[str]]) -> None:
    """Only these tasks may be lost, and some of them are, or the fault was none."""
    verdict = trial.judge(within=120, may_be_lost=may_be_lost)
    verdict.must_be_clean()
    assert verdict.excused, "Redis lost nothing: the fault did not take place"


def hold_recovery(trial: Trial, back_at: float) -> None:
    accepted = [promise.at for promise in trial.producer.ledger.promises.values() if promise.at > back_at]
    seconds = min(accepted) - back_at
    trial.hold("seconds from Redis' return to an accepted submit", seconds, WORKING_AGAIN, recovery=True)
    trial.hold_rejoin(trial.crew.running, back_at, WORKING_AGAIN)


def test_6_redis_is_killed_and_loses_its_last_second(new_trial: NewTrial, form: Form) -> None:
    count, away = form.tasks(5000, 1500), 10.0
    lost_from = lost_to = 0.0

    def crash(_: Random) -> str:
        nonlocal lost_from, lost_to
        lost_from = trial.redis.stop_syncing()
        time.sleep(1.0)
        trial.redis.crash()
        time.sleep(away)
        lost_to = time.time()  # a client on a busy machine reads an answer some time after it was given
        trial.redis.primary.start()
        return f"kill -9 of Redis, back after {away:g} s without its last second"

    trial = new_trial(options={"concurrency": 4})
    start_four_workers(trial)
    with LivePage(trial.settings, trial.folder, trial.seed) as page, delayed_tasks(trial):
        trial.producer.start_mix(count, pace=100)
        trial.wait_for_done(count // 3, 60)
        fault = trial.nemesis.once(crash)
        caught_up = page.seconds_to_catch_up(within=30)
        trial.wait_for_rejoin(trial.crew.running, fault.over_at, 2 * WORKING_AGAIN)
        trial.wait_for_done(count // 2, 60)
        page.must_be_well()
    judge_but(trial, lambda: trial.only_in_redis(lost_from, lost_to))
    trial.hold_each_once()
    hold_recovery(trial, fault.over_at)
    trial.hold("seconds from Redis' return until the page showed what it holds", caught_up, PAGE_CATCHES_UP)
    at_most = SUBMIT_FAILS if form.whole else SUBMIT_FAILS + 1.0  # a busy machine is a second late
    trial.hold("seconds of the slowest submit", max(trial.producer.ledger.seconds), at_most)


def test_a_durable_submit_outlives_its_client_and_the_last_second_of_redis(new_trial: NewTrial) -> None:
    """Kafka hears nothing of these tasks, so Redis' disk alone can bring them back."""
    trial = new_trial(options={"concurrency": 4})
    durable = {**trial.settings, "kafka_servers": NOWHERE, "durable": True}
    another = Producer(trial.house.beside(**durable).client, trial.seed)
    lost_from = lost_to = 0.0

    def crash(_: Random) -> str:
        nonlocal lost_from, lost_to
        told.kill()
        lost_from, before = trial.redis.stop_syncing(), queued(trial)
        waiting = start_client(trial, durable, UNTOLD)
        eventually(lambda: queued(trial) >= before + len(UNTOLD), 30)
        with ThreadPoolExecutor(len(UNTOLD)) as pool:  # with the same keys: a repeat is promised no less than the first
            for number in UNTOLD:
                pool.submit(another.submit, "square", number, SHORT, key=key_of(number))
            time.sleep(1.0)
            waiting.kill()
            trial.redis.crash()
            trial.redis.primary.start()
            lost_to = time.time()
        return "kill -9 of a client that was told its ids, of one that waits for them, and of Redis without its last second"

    told = start_client(trial, durable, range(1000))
    with delayed_tasks(trial):
        eventually(lambda: len(read_ids(trial.folder)) > 32, 60)
        trial.nemesis.once(crash)
    ledger, known = trial.producer.ledger, read_ids(trial.folder)
    not_durable = set(ledger.promises)
    ledger.promises |= another.ledger.promises
    ledger.promises |= {task_id: Promise("square", (number,)) for number, (task_id,) in known.items()}
    for number in {*range(max(known) + 17), *UNTOLD} - known.keys():  # a client may have died in their submit
        trial.producer.submit("square", number, SHORT, key=key_of(number))
    trial.start_workers(1)
    judge_but(trial, lambda: trial.only_in_redis(lost_from, lost_to) & not_durable)


def start_client(trial: Trial, settings: dict[str, Any], numbers: range) -> Child:
    """A process that submits these numbers, sixteen at once."""
    orders = {"settings": settings, "folder": str(trial.folder), "numbers": [*numbers], "threads": 16}
    return Child("tests.faults.producer_main", f"client-{numbers.start}", trial.folder, orders)


def queued(trial: Trial) -> int:
    return trial.house.views.counts()[TaskStatus.QUEUED]


def test_7_redis_is_emptied(new_trial: NewTrial, form: Form) -> None:
    count = form.tasks(2000, 1000)
    uncommitted: set[str] = set()

    def empty(_: Random) -> str:
        uncommitted.update(trial.uncommitted())
        with trial.redis.connection() as redis:
            redis.flushall()
        return "FLUSHALL"

    trial = new_trial(options={"concurrency": 4})
    start_four_workers(trial)
    trial.producer.start_mix(count, pace=60)
    with delayed_tasks(trial):
        trial.wait_for_done(count // 3, 60)
        fault = trial.nemesis.once(empty)
        waiting = waiting_for_a_retry(trial, fault)
        trial.wait_for_rejoin(trial.crew.running, fault.over_at, 2 * WORKING_AGAIN)
    judge_but(trial, lambda: trial.only_in_redis(0.0, fault.over_at) | waiting)
    # What had ended before that, and was not committed, may run again; so may a task of which Redis alone knew the retry.
    long_over = {run.id for run in trial.verdict.runs if (run.ended_at or math.inf) < fault.begun_at - TOLD_AGAIN}
    trial.hold_each_once(but=waiting | (long_over & uncommitted))
    hold_recovery(trial, fault.over_at)


def waiting_for_a_retry(trial: Trial, fault: Fault) -> set[str]:
    """Tasks whose first attempt had failed by then, and the second one not begun: Redis alone knew of them."""
    runs = read_runs(trial.folder)
    ended = {run.id for run in runs if run.attempt == 1 and run.ended_at and run.ended_at <= fault.over_at}
    begun = {run.id for run in runs if run.attempt > 1 and run.begun_at <= fault.begun_at}
    return {task_id for task_id in ended - begun if trial.producer.ledger.promises[task_id].name == "flaky"}


@pytest.mark.soak
def test_8_a_replica_without_the_last_two_seconds_takes_over(new_trial: NewTrial, form: Form) -> None:
    count = form.tasks(3000, 1000)
    lost_from = killed_at = 0.0

    def fail_over(_: Random) -> str:
        nonlocal lost_from, killed_at
        lost_from = time.time()
        trial.redis.stop_replication()
        time.sleep(2.0)
        trial.redis.fail_over()
        killed_at = time.time()
        return "the replica took over without the last 2 s"

    trial = new_trial(options={"concurrency": 4})
    trial.redis.start_replica()
    start_four_workers(trial)
    trial.producer.start_mix(count, pace=60)
    with delayed_tasks(trial):
        trial.wait_for_done(count // 3, 60)
        fault = trial.nemesis.once(fail_over)
        trial.wait_for_rejoin(trial.crew.running, fault.over_at, 2 * WORKING_AGAIN)
        trial.wait_for_done(count // 2, 60)
    judge_but(trial, lambda: trial.only_in_redis(lost_from, killed_at))
    trial.hold_each_once()
    hold_recovery(trial, fault.over_at)
