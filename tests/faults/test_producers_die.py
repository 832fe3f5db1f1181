"""Producers that are killed before, in and after submit()."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.faults.children import Child
from tests.faults.conftest import Form, NewTrial
from tests.faults.producer import SHORT
from tests.faults.producer_main import key_of, log_of, read_ids
from tests.faults.trial import Trial
from tests.helpers import eventually
from yadtq import TaskStatus

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

PER_ROUND = 5


@pytest.mark.soak
def test_14_producers_are_killed_and_their_keys_submitted_again(new_trial: NewTrial, form: Form) -> None:
    rounds = form.tasks(200, 20)
    numbers = range(rounds * PER_ROUND)
    trial = new_trial(options={"concurrency": 4})
    trial.start_workers(2)
    unsure: list[int] = []  # submitted by the last producer, whatever it was told
    untold = 0  # times that a producer died between the acceptance of its task and its id
    for first in numbers[::PER_ROUND]:
        asked = [*unsure, *range(first, first + PER_ROUND)]
        trial.nemesis.once(lambda rng, asked=asked: _kill_a_producer(trial, asked, rng))
        known = read_ids(trial.folder)
        untold += sum(trial.house.views.counts().values()) > len(known)
        unsure = [number for number in asked if number not in known] + asked[-1:]
    assert untold or not form.whole, "no producer died inside of submit(): this run proves nothing"
    returned = read_ids(trial.folder)
    for number in numbers:
        task_id = trial.producer.submit("square", number, SHORT, key=key_of(number))
        assert returned[number] <= {task_id}, f"key {key_of(number)} gave {returned[number]}, then {task_id}"
    verdict = trial.judge(within=20 * form.scale + 40)
    verdict.must_be_clean()
    assert verdict.accepted == len(numbers)
    assert trial.house.views.counts() == dict.fromkeys(TaskStatus, 0) | {TaskStatus.SUCCESS: len(numbers)}
    trial.all_accepted()
    trial.hold_each_once()


def _kill_a_producer(trial: Trial, numbers: list[int], rng: random.Random) -> str:
    """Start a producer and kill it at a random moment: in its first submits, or while Kafka takes what it submitted."""
    orders = {"settings": trial.settings, "folder": str(trial.folder), "numbers": numbers, "threads": 1}
    producer = Child("tests.faults.producer_main", f"p{numbers[-1]}", trial.folder, orders)
    log: Path = log_of(trial.folder, producer.pid)
    try:
        eventually(lambda: log.exists() and log.read_text(), 30, every=0.001)
        time.sleep(rng.uniform(0.0, rng.choice((0.01, 0.05, 0.6))))
    finally:
        producer.kill()
    return f"kill -9 of a producer after {len(log.read_text().splitlines()) - 1} of {len(numbers)} submits"
