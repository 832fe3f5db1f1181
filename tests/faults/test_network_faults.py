"""Links that swallow everything, to one server and not to the other, and links that are slow, narrow and flaky."""

from __future__ import annotations

import re
import time
from random import Random

import pytest

from tests.faults.conftest import Form, NewTrial
from tests.faults.proxy import BLACKHOLE, PASS, Weather
from tests.faults.trial import Trial
from tests.helpers import eventually

pytestmark = [pytest.mark.faults, pytest.mark.soak, pytest.mark.timeout(600)]

SLOTS = 4
LEASE = 30.0  # seconds at a time scale of 1
REJOINS = 30.0  # seconds from a link's return until a worker runs tasks again
BAD = Weather(delay=0.2, jitter=0.1, resets=0.01, rate=256_000)


def test_12_workers_reach_redis_and_not_kafka(new_trial: NewTrial, form: Form) -> None:
    lasts, count = 40.0 if form.whole else 20.0, form.tasks(3_000, 1_200)

    def swallow(_: Random) -> str:
        trial.cluster.kafka.set(BLACKHOLE)
        time.sleep(lasts)
        trial.cluster.kafka.set(PASS)
        return f"Kafka's links blackholed for {lasts:g} s"

    trial = new_trial(options={"concurrency": SLOTS})
    trial.start_workers(4)
    trial.producer.start_mix(count, pace=count / (lasts + 20))
    trial.wait_for_done(count // 10, 60)
    fault = trial.nemesis.once(swallow)
    trial.wait_for_rejoin(trial.crew.running, fault.over_at, 2 * REJOINS)
    verdict = trial.judge(within=120)
    verdict.must_be_clean()
    trial.looked_on(fault)
    trial.all_accepted()
    trial.hold_each_once()
    still = [run for run in verdict.runs if fault.begun_at + LEASE * form.scale < run.begun_at < fault.over_at]
    trial.hold("tasks begun later than a lease into it", len(still), at_most=0)
    trial.hold_rejoin(trial.crew.running, fault.over_at, REJOINS)


def test_12_some_workers_reach_kafka_and_not_redis(new_trial: NewTrial, form: Form) -> None:
    lasts, count = 40.0 if form.whole else 20.0, form.tasks(3_000, 1_200)

    def swallow(_: Random) -> str:
        trial.redis.workers_link.set(BLACKHOLE)
        time.sleep(lasts)
        trial.redis.workers_link.set(PASS)
        return f"the link of two workers to Redis blackholed for {lasts:g} s"

    trial = new_trial(options={"concurrency": SLOTS})
    trial.start_workers(2)
    cut_off = trial.crew.running
    trial.start_workers(2, redis_url=trial.redis.clients_url)
    trial.producer.start_mix(count, pace=count / (lasts + 20))
    trial.wait_for_done(count // 10, 60)
    for number in range(8 * SLOTS):
        trial.producer.submit("square", number, 2.0)
    eventually(lambda: all(trial.running_in(worker) for worker in cut_off), 30)
    fault = trial.nemesis.once(swallow)
    trial.wait_for_rejoin(cut_off, fault.over_at, 2 * REJOINS)
    verdict = trial.judge(within=120)
    verdict.must_be_clean()
    trial.all_accepted()
    pids = {worker.pid for worker in cut_off}
    theirs = [run for run in verdict.runs if run.pid in pids]
    still = [run for run in theirs if fault.begun_at + LEASE * form.scale < run.begun_at < fault.over_at]
    trial.hold("tasks begun later than a lease into it", len(still), at_most=0)
    trial.hold_rejoin(cut_off, fault.over_at, REJOINS, renewed=True)
    assert trial.house.views.totals()["fenced"] >= 1, "no late outcome was refused"


def test_13_the_links_to_kafka_are_slow_narrow_and_flaky(new_trial: NewTrial, form: Form) -> None:
    count = form.tasks(2_000, 1_000)
    trial = new_trial(options={"concurrency": SLOTS})
    trial.start_workers(4)
    trial.wait_for_balance()
    seconds_for(trial, count // 2)  # whatever is slow the first time
    clean = seconds_for(trial, count)
    before = generation(trial)

    def spoil(_: Random) -> str:
        trial.cluster.kafka.set(BAD)
        return "200 ± 100 ms, 1 % resets and 256 kB/s on Kafka's links"

    trial.nemesis.once(spoil)
    bad = seconds_for(trial, count)
    new_generations = generation(trial) - before
    trial.cluster.kafka.set(PASS)
    trial.judge(within=60).must_be_clean()
    trial.all_accepted()
    trial.hold_each_once()
    trial.hold("generations of the workers' group", new_generations, at_most=5)
    trial.hold("times as long as over clean links", bad / clean, at_most=4.0)


def seconds_for(trial: Trial, count: int) -> float:
    """Submit so many tasks at once and wait until they have ended."""
    begun_at, done = time.monotonic(), trial.done()
    trial.producer.mix_at_once(count)
    trial.wait_for_done(done + count, 120)
    return time.monotonic() - begun_at


def generation(trial: Trial) -> int:
    """The newest generation of the group that a worker has logged."""
    joined = re.compile(r"Successfully joined group \S+ .*?generation\D*(\d+)", re.IGNORECASE)
    logs = (path.read_text(errors="replace") for path in trial.folder.glob("*-kafka.txt"))
    return max(int(found) for log in logs for found in joined.findall(log))
