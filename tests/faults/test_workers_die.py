"""Workers that are killed, stopped and ended, one by one and all at once."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Form, NewTrial
from tests.faults.oracle import rerun_delays

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

OFFLINE = 35.0  # seconds until a dead worker's tasks run again, by the promise, at a time scale of 1


def test_1_workers_are_killed_every_two_seconds(new_trial: NewTrial, form: Form) -> None:
    slots = 4
    with_kills = form.tasks(10_000, 1_500)
    trial = new_trial(options={"concurrency": slots})
    trial.start_workers(4)
    trial.producer.start_mix(with_kills, pace=100)
    with trial.nemesis.every(2.0, trial.kill_a_worker):
        trial.producer.join()
    verdict = trial.judge(within=300 if form.whole else 90)
    verdict.must_be_clean()
    trial.hold("re-executions", verdict.re_executed, at_most=len(trial.nemesis.faults) * slots)
    deaths = {worker.pid: worker.killed_at for worker in trial.crew.all if worker.killed_at}
    delays = rerun_delays(verdict.runs, deaths)
    trial.hold("seconds from a death to the next run", max(delays), at_most=OFFLINE * form.scale + 15)
