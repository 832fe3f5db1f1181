"""Workers that are killed: one after the other, all at once, and by the tasks they run."""

from __future__ import annotations

import random
import time

import pytest

from tests.faults.conftest import Form, NewTrial
from tests.faults.oracle import first_begin_after, longest_pause, rerun_delays
from tests.faults.producer import LONG
from tests.helpers import eventually
from yadtq import TaskStatus

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SLOTS = 4
# Seconds until a dead worker's tasks run again, by the promise; the second where those who move them on die as well.
OFFLINE, OFFLINE_TWICE = 35.0, 60.0
# Seconds until Kafka gives a dead worker's partitions to others; the engine's time scale does not change it.
SESSION = 10.0
REBALANCE = 5.0
# Seconds of a task that is still under way when its worker is killed. What ran in a dead worker may wait for its slot.
SLOW = 6.0


def test_1_workers_are_killed_every_two_seconds(new_trial: NewTrial, form: Form) -> None:
    trial = new_trial(options={"concurrency": SLOTS})
    trial.start_workers(4)
    trial.wait_for_balance()
    began = time.time()
    trial.producer.start_mix(form.tasks(10_000, 1_500), pace=100)
    slow = {trial.producer.submit("square", number, SLOW) for number in range(4 * SLOTS)}

    def each_has_a_slow_one() -> bool:
        """So that the first one dies with something under way; chance may have given one of them none."""
        slow.add(trial.producer.submit("square", 1, SLOW))
        return all(slow & trial.running_in(worker) for worker in trial.crew.running)

    eventually(each_has_a_slow_one, 30, every=0.5)
    with trial.nemesis.every(2.0, trial.kill_a_worker):
        trial.producer.join()
    verdict = trial.judge(within=300 if form.whole else 90)
    verdict.must_be_clean()
    trial.all_accepted()
    trial.hold("seconds until all was done", max(trial.ended_at.values()) - began, at_most=300)
    assert trial.house.views.counts()[TaskStatus.PROCESSING] == 0
    assert [queue.processing for queue in trial.house.views.queues()] == [0]
    trial.hold("re-executions", verdict.re_executed, at_most=len(trial.nemesis.faults) * SLOTS)
    deaths = trial.crew.deaths
    own_delays = rerun_delays(verdict.runs, deaths)
    assert own_delays, "no worker died with a task in it: this run proves nothing"
    # Nothing is promised of these: while one dies every 2 s, Kafka goes on waiting for the last dead one.
    trial.note("seconds from a death among others to the next run", max(own_delays))
    trial.note("longest seconds without any task ending", longest_pause(trial.ended_at.values()))
    delays = rerun_delays(verdict.runs, dict.fromkeys(deaths, max(deaths.values())))
    # What is queued again waits for a slot, and for what was submitted before it.
    at_most = _scaled(OFFLINE, form) + SLOW
    trial.hold("seconds from the last kill to the next run", max(delays, default=0), at_most=at_most, recovery=True)


@pytest.mark.soak
def test_a_dead_workers_tasks_run_again_within_35_seconds(new_trial: NewTrial, form: Form) -> None:
    trial = new_trial(options={"concurrency": SLOTS})
    trial.start_workers(3)
    trial.producer.start_mix(form.tasks(5_000, 2_000), pace=50)
    deaths = form.tasks(3, 2)
    for number in range(deaths):
        trial.nemesis.pause(20 * form.scale)  # long enough for those who live to call others dead
        tasks = [trial.producer.submit("square", number, 2.0) for _ in range(3 * SLOTS)]
        eventually(lambda tasks=tasks: all(trial.house.client.get_result(task).worker for task in tasks))
        trial.nemesis.once(trial.kill_a_worker)
        trial.house.ended(tasks, _scaled(OFFLINE_TWICE, form))
    verdict = trial.judge(within=90)
    verdict.must_be_clean()
    trial.all_accepted()
    delays = rerun_delays(verdict.runs, trial.crew.deaths)
    assert len(delays) >= deaths
    trial.hold("seconds from a death to the next run", max(delays), at_most=_scaled(OFFLINE, form), recovery=True)


@pytest.mark.soak
def test_2_all_workers_are_killed_at_once(new_trial: NewTrial, form: Form) -> None:
    count, away = form.tasks(5_000, 1_500), 15.0
    trial = new_trial(options={"concurrency": SLOTS})
    trial.start_workers(4)
    trial.producer.start_mix(count, pace=100)
    trial.wait_for_done(count // 3, 120)
    tasks = [trial.producer.submit("square", number, LONG * 5) for number in range(4 * SLOTS)]
    eventually(lambda: any(trial.house.client.get_result(task).worker for task in tasks))

    def kill_all(_: random.Random) -> str:
        for worker in trial.crew.running:
            worker.kill()
        trial.nemesis.pause(away)
        return "kill -9 of all workers"

    trial.nemesis.once(kill_all)
    in_flight = trial.house.views.counts()[TaskStatus.PROCESSING]
    assert in_flight, "nothing ran when the workers died: this run proves nothing"
    restarted_at = time.time()
    trial.crew.start(4)
    verdict = trial.judge(within=180)
    verdict.must_be_clean()
    trial.all_accepted()
    trial.hold("seconds to the first run", first_begin_after(verdict.runs, restarted_at), at_most=SESSION + 5)
    trial.hold("re-executions", verdict.re_executed, at_most=in_flight)
    delays = rerun_delays(verdict.runs, trial.crew.deaths)
    assert delays
    trial.hold("seconds from a death to the next run", max(delays), at_most=_scaled(OFFLINE_TWICE, form))


def test_5_tasks_kill_their_workers(new_trial: NewTrial, form: Form) -> None:
    trial = new_trial(options={"concurrency": SLOTS})
    trial.start_workers(4)
    with trial.crew.kept():
        trial.producer.start_mix(form.tasks(1_000, 400), pace=8 if form.whole else 12)
        trial.wait_for_done(20, 60)
        poisons = [trial.producer.submit("poison", kind) for kind in ("exit", "segfault", "kill")]
        verdict = trial.judge(within=300)
    verdict.must_be_clean()
    trial.all_accepted()
    for poison in poisons:
        assert poison is not None
        result = trial.house.client.get_result(poison)
        assert result.lost == 3
        # Fewer where a worker died of another of them before this one had begun; the third time each runs alone.
        assert 1 <= sum(run.id == poison for run in verdict.runs) <= 3
    # Whoever takes a partition over may be killed by the next poison, and Kafka waits for that one as well.
    trial.hold_standstill(_scaled(OFFLINE, form) + (0 if form.whole else SESSION))


@pytest.mark.soak
def test_as_measured_with_other_queues(new_trial: NewTrial) -> None:
    """2,000 tasks of 20 ms, two workers of 4 slots, a kill -9 every 2 s for 20 s, and the settings as shipped."""
    trial = new_trial(options={"concurrency": SLOTS}, time_scale=1.0, grace=25.0)
    trial.start_workers(2)
    with trial.nemesis.every(2.0, trial.kill_a_worker):
        trial.producer.many(2_000, 0.02)
        eventually(lambda: len(trial.nemesis.faults) >= 10, 40)
    assert trial.done() < 2_000, "all was done before the last kill: this run proves less than it should"
    verdict = trial.judge(within=75)
    verdict.must_be_clean()
    trial.all_accepted()
    last = trial.nemesis.faults[-1].over_at
    trial.hold("seconds from the last kill to the last end", max(trial.ended_at.values()) - last, at_most=40)


def _scaled(seconds: float, form: Form) -> float:
    """A promise about dead workers in this form; in the short one it is Kafka that takes longer."""
    return seconds if form.whole else seconds * form.scale + SESSION + REBALANCE
