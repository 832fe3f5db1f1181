"""Test 15: live pages while web processes die, Redis restarts, and browsers misbehave."""

from __future__ import annotations

import logging
import re
import statistics
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Form
from tests.faults.web_crowd import Deaf
from tests.faults.web_trial import IN_THE_END, WebTrial
from tests.helpers import eventually
from tests.integration.stored import submit_whole

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

logger = logging.getLogger(__name__)

SLOTS = 72  # sockets a process may hold
MB = 1024 * 1024


@pytest.fixture
def trial(request: pytest.FixtureRequest, tmp_path: Path, seed: int, form: Form) -> Iterator[WebTrial]:
    logger.warning("seed %d", seed)
    made = WebTrial(request.node.name, tmp_path, seed, in_time=form.whole)
    try:
        yield made
    finally:
        made.close(passed=made.figures != [] and all(figure.value <= figure.at_most for figure in made.figures))


@pytest.mark.soak
def test_15_the_web_is_shaken_while_a_hundred_pages_look_on(trial: WebTrial, form: Form) -> None:
    """In its short form there are fewer pages, and what must be is awaited for as long as it takes."""
    lists, overviews = (90, 10) if form.whole else (20, 4)
    rounds, spell = (3, 12.0) if form.whole else (1, 2.0)
    trial.ids = [uuid.uuid4().hex[:24] for _ in range(200)]
    submit_whole(trial.world, *trial.ids)
    crowd = trial.crowd
    crowd.probe("/", "/tasks", "/tasks?status=failed", "/workers")
    eventually(lambda: len(crowd.probes) > 12, IN_THE_END)
    quiet = trial.inside()
    rss = {pid: max(samples) for pid, samples in trial.memory.items()}
    crowd.join(lists, "/tasks", "tasks")
    crowd.join(overviews, "/", "overview")
    eventually(lambda: crowd.live == lists + overviews, IN_THE_END)
    assert not crowd.log.failed

    crowd.probes.clear()
    changing = trial.keep_changing(form.tasks(1_000, 300), 4 * rounds * spell)
    for _ in range(rounds):
        for harm in (trial.kill_a_process, trial.misbehave, trial.hang_up, trial.restart_redis):
            trial.nemesis.once(harm)
            time.sleep(spell)  # for the pages to meet what comes of it
    changing.join(120)
    trial.keep_changing(200, 3.0).join(120)  # pages that were read anew after the last harm have to be told of these
    began = time.monotonic()
    eventually(lambda: not trial.wrong_tables(), IN_THE_END, every=0.1)
    trial.hold_time("seconds after the last change until every table is as Redis", time.monotonic() - began, 5)

    trial.hold("MB that a process grew by", max(grown(trial.memory, max(rss.values()))) / MB, 50)
    trial.hold_time("seconds that 95 % of the pages took at most", statistics.quantiles(crowd.probes, n=20)[-1], 0.3)
    eventually(lambda: crowd.live == lists + overviews, IN_THE_END)
    eventually(lambda: sum(told["sockets"] for told in trial.inside().values()) == lists + overviews, IN_THE_END)
    trial.must_be_well()
    crowd.close()
    began = time.monotonic()
    eventually(
        lambda: all(told["sockets"] == 0 and not extra(told, quiet) for told in trial.inside().values()), IN_THE_END
    )
    trial.hold_time("seconds until all threads of the sockets were gone", time.monotonic() - began, 10)
    trial.judge()


def test_15_one_page_too_many_asks_instead_and_the_others_go_on(trial: WebTrial) -> None:
    lines = [Deaf(trial.stack.port, trial.cookie, trial.stack.url) for _ in range(2 * SLOTS + 20)]
    accepted = sum(line.status == 101 for line in lines)
    trial.crowd.join(1, "/tasks", "tasks")
    trial.crowd.probe("/", "/tasks")
    eventually(lambda: len(trial.crowd.probes) > 10, IN_THE_END)

    told = trial.inside()
    assert accepted <= 2 * SLOTS
    assert {line.status for line in lines} == {101, 503}
    assert max(process["sockets"] for process in told.values()) == SLOTS
    slowest = statistics.quantiles(trial.crowd.probes, n=20)[-1]
    trial.hold_time("seconds that 95 % of the pages took at most", slowest, 1)
    trial.ids = ["late"]
    submit_whole(trial.world, "late")
    eventually(lambda: "late" in trial.crowd.readers[0].rows, IN_THE_END)
    trial.must_be_well()
    for line in lines:
        line.close()
    trial.judge()


def grown(memory: dict[int, list[int]], before: int) -> list[int]:
    """How many bytes each process had at most beyond one without a live page."""
    return [max(samples) - before for samples in memory.values()]


def extra(told: dict[str, Any], quiet: dict[int, dict[str, Any]]) -> set[str]:
    """Threads that a process has now and none had without a live page."""
    usual = {kind(name) for process in quiet.values() for name in process["threads"]}
    return {name for name in told["threads"] if kind(name) not in usual and name != "yadtq-alarms"}


def kind(name: str) -> str:
    return re.sub(r"\d+", "", name)
