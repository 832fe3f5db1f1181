"""Everything at random: servers, links and workers fail beside each other, by the seed that the log prints first."""

from __future__ import annotations

import time
from itertools import pairwise
from random import Random

import pytest

from tests.faults.conftest import Form, NewTrial
from tests.faults.harms import Harms
from tests.faults.nemesis import Nemesis
from tests.faults.oracle import longest_pause
from tests.helpers import eventually


@pytest.mark.faults
@pytest.mark.timeout(1500)
def test_faults_at_random(new_trial: NewTrial, form: Form) -> None:
    """``SOAK_SEED`` repeats which faults come, and after what pauses."""
    seconds = 600 if form.whole else 40
    trial = new_trial(options={"concurrency": 4})
    at_workers = Nemesis(trial.seed + 1, trial.nemesis.faults)
    servers = Harms(trial, trial.nemesis, away=4.0)
    workers = Harms(trial, at_workers, away=40.0 * form.scale)
    trial.start_workers(4)
    trial.producer.start_mix(seconds * 50, pace=50)
    harms_to_servers = (
        servers.kill_a_node,
        servers.crash_redis,
        servers.break_a_kafka_link,
        servers.break_the_redis_link,
    )
    harms_to_workers = (trial.kill_a_worker, workers.terminate_a_worker, workers.freeze_a_worker)
    with (
        trial.nemesis.every(8.0, *harms_to_servers, jitter=0.5),
        at_workers.every(6.0, *harms_to_workers, jitter=0.5),
    ):
        trial.producer.join(seconds + 300)
    verdict = trial.judge(within=120)
    verdict.must_be_clean()
    trial.note("seconds in which no task ended, at most", longest_pause(trial.ended_at.values()))


def test_a_nemesis_keeps_to_the_clock_and_does_one_harm_at_a_time() -> None:
    """Four harms of half a second, one a second; a long one, after which the next begins at once; and one more."""
    lasts = iter([0.5, 0.5, 0.5, 0.5, 2.0, 0.0])
    nemesis = Nemesis(1)

    def harm(_: Random) -> str:
        time.sleep(next(lasts, 0.0))
        return "a pause"

    with nemesis.every(1.0, harm):
        eventually(lambda: len(nemesis.faults) >= 6, 30)
    begun, over = [fault.begun_at for fault in nemesis.faults], [fault.over_at for fault in nemesis.faults]
    assert all(later - earlier >= 0.9 for earlier, later in pairwise(begun))
    assert begun[4] - begun[0] < 5.5, "the time that a harm takes is added to the pause"
    assert 0 <= begun[5] - over[4] < 0.9
