"""Kafka's nodes are killed: one by one, two at once, and the one that leads the controllers."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Form, NewTrial
from tests.faults.harms import Harms
from tests.faults.trial import Trial

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

DOWN = 5.0  # seconds until a killed node is started again
NODE_DIES = 30.0  # seconds that the death of one node of three delays anything


def hold_submits(trial: Trial) -> None:
    ledger = trial.producer.ledger
    trial.hold("share of submits that failed", len(ledger.errors) / len(ledger.seconds), at_most=0.01)
    trial.hold("seconds of 99 % of the submits", ledger.slowest(0.99), at_most=5.0)


def judge(trial: Trial, form: Form) -> None:
    """Kafka gives a record to another worker, or twice; the task runs once all the same."""
    trial.judge(within=480 if form.whole else 60).must_be_clean()
    trial.hold_each_once()


def test_9_one_node_of_three_is_killed_every_20_seconds(new_trial: NewTrial, form: Form) -> None:
    trial = new_trial(options={"concurrency": 4})
    harms = Harms(trial, trial.nemesis, DOWN)
    trial.start_workers(4)
    trial.producer.start_mix(form.tasks(10_000, 2_000), pace=60)
    with trial.nemesis.every(20.0 if form.whole else 5.0, harms.kill_a_node):
        trial.producer.join()
        while len(trial.nemesis.faults) < (5 if form.whole else 2):  # a busy machine starts a node slowly
            trial.producer.mix(60, pace=60)
    judge(trial, form)
    hold_submits(trial)
    trial.hold_standstill(at_most=NODE_DIES)
    began = min(promise.at for promise in trial.producer.ledger.promises.values())
    trial.hold("seconds from the first submit to the last end", max(trial.ended_at.values()) - began, at_most=480)


@pytest.mark.soak
def test_10_two_nodes_of_three_are_down_for_20_seconds(new_trial: NewTrial, form: Form) -> None:
    count = 1000
    trial = new_trial(options={"concurrency": 4})
    harms = Harms(trial, trial.nemesis, 20.0)
    trial.start_workers(4)
    trial.producer.start_mix(count, pace=25)
    trial.wait_for_done(count // 10, 60)
    fault = trial.nemesis.once(harms.kill_two_nodes)
    judge(trial, form)
    trial.all_accepted()
    trial.hold("seconds of the slowest submit", max(trial.producer.ledger.seconds), at_most=5.0)
    before = [
        at for task_id, at in trial.ended_at.items() if trial.producer.ledger.promises[task_id].at < fault.over_at
    ]
    seconds = max(before) - fault.over_at
    trial.hold("seconds from the nodes' return to the last end", seconds, at_most=60, recovery=True)


@pytest.mark.soak
def test_11_the_controllers_leader_is_killed(new_trial: NewTrial, form: Form) -> None:
    count = form.tasks(2_000, 1_000)
    trial = new_trial(options={"concurrency": 4})
    harms = Harms(trial, trial.nemesis, DOWN)
    trial.start_workers(4)
    trial.producer.start_mix(count, pace=50)
    for share in (0.2, 0.6):
        trial.wait_for_done(int(count * share), 120)
        trial.nemesis.once(harms.kill_the_controller)
    judge(trial, form)
    hold_submits(trial)
    trial.hold_standstill(at_most=NODE_DIES)
