"""Workers that are asked to end, and workers that are stopped and go on later."""

from __future__ import annotations

import random
import signal
import time

import pytest

from tests.faults.children import Child
from tests.faults.conftest import Form, NewTrial
from tests.faults.oracle import read_runs
from tests.faults.producer import SHORT
from tests.helpers import eventually

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SLOTS = 4
SESSION = 10.0  # seconds until Kafka gives a silent worker's partitions to others


def test_3_all_workers_are_replaced_one_by_one(new_trial: NewTrial, form: Form) -> None:
    grace = 25.0 if form.whole else 10.0
    trial = new_trial(options={"concurrency": SLOTS}, grace=grace)
    trial.start_workers(form.tasks(4, 3))
    producing = trial.producer.start_mix(form.tasks(5_000, 1_500), pace=100)
    ends = []

    def replace(victim: random.Random) -> str:
        worker, new_first = trial.crew.running[0], victim.random() < 0.5
        for number in range(4 * SLOTS):  # so that it has something under way
            trial.producer.submit("square", number, 1.5)
        eventually(lambda: trial.running_in(worker), 30)
        ends.append(trial.crew.replace(worker, new_first=new_first, timeout=grace + 30))
        return f"SIGTERM to {worker.name}, its successor started {'before' if new_first else 'after'}"

    for _ in range(3):
        for _ in trial.crew.running:
            trial.nemesis.once(replace)
        if not form.whole or not producing.is_alive():
            break
    verdict = trial.judge(within=90)
    verdict.must_be_clean()
    trial.all_accepted()
    trial.hold_each_once()
    assert {code for code, _ in ends} == {0}
    trial.hold("seconds from SIGTERM to the end", max(seconds for _, seconds in ends), at_most=grace + 2)


def test_4_a_worker_is_stopped_for_longer_than_its_lease(new_trial: NewTrial, form: Form) -> None:
    # The whole form's pause is the lease and half of it more; the short one's lets Kafka, too, miss the worker.
    pause, long = (30.0 + 15.0, 20.0) if form.whole else (2 * SESSION, 3.0)
    count = form.tasks(2_000, 600)
    trial = new_trial(options={"concurrency": SLOTS})
    trial.start_workers(3)
    trial.producer.start_mix(count, pace=count / (pause + 10))
    task_id = trial.producer.submit("square", 12, long)
    stopped = trial.crew.named(eventually(lambda: trial.house.client.get_result(task_id).worker))
    eventually(lambda: task_id in trial.running_in(stopped))

    def stop_for_a_while(_: random.Random) -> str:
        stopped.signal(signal.SIGSTOP)
        trial.nemesis.pause(pause)
        stopped.signal(signal.SIGCONT)
        return f"SIGSTOP of {stopped.name} for {pause:g} s"

    continued_at = trial.nemesis.once(stop_for_a_while).over_at
    eventually(lambda: trial.house.views.totals().get("fenced", 0) >= 1)
    trial.house.ended([task_id], 3 * long)
    result = trial.house.client.get_result(task_id)
    assert result.worker != stopped.name
    assert (result.ok, result.lost) == (True, 1)

    def works_again() -> bool:
        trial.producer.submit("square", 1, SHORT)
        return any(run.pid == stopped.pid and run.begun_at > continued_at + 1 for run in read_runs(trial.folder))

    eventually(works_again, 40, every=0.5)
    verdict = trial.judge(within=60)
    verdict.must_be_clean()
    trial.all_accepted()
    assert stopped.running
    own = [run for run in verdict.runs if run.id == task_id]
    assert [run.pid == stopped.pid for run in own] == [True, False]
    assert own[0].ended_at is not None, "the late run never came to its end: this run proves nothing"


@pytest.mark.soak
@pytest.mark.parametrize("pool", ["thread", "process"])
def test_a_task_that_outlasts_the_grace_time_is_handed_back_once(new_trial: NewTrial, pool: str) -> None:
    grace, lasts = 3.0, 12.0
    trial = new_trial(grace=grace)

    def start(name: str) -> Child:
        orders = {"settings": trial.settings, "folder": str(trial.folder), "name": name, "pool": pool}
        trial.crew.all.append(Child("tests.faults.stubborn", name, trial.folder, orders))
        return trial.crew.all[-1]

    def terminate(_: random.Random) -> str:
        asked_at = time.monotonic()
        first.signal(signal.SIGTERM)
        code = first.wait(grace + 30)
        seconds.append(time.monotonic() - asked_at)
        assert code == 0
        return f"SIGTERM to {first.name}"

    first, seconds = start("w1"), list[float]()
    task_id = trial.producer.submit("stubborn", 12, lasts, str(trial.folder))
    eventually(lambda: read_runs(trial.folder), 60)
    trial.nemesis.once(terminate)
    second = start("w2")
    verdict = trial.judge(within=lasts + 60)
    verdict.must_be_clean()
    result = trial.house.client.get_result(task_id)
    assert (result.worker, result.gen, result.lost) == (second.name, 2, 0)
    assert [run.ended_at is None for run in verdict.runs] == [True, False], "it went on in the worker that had ended"
    trial.hold("seconds from SIGTERM to the end", seconds[0], at_most=grace + 2)
