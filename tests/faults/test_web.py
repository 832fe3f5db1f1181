"""Test 15: a hundred live pages while web processes die, Redis restarts, and browsers misbehave."""

from __future__ import annotations

import json
import logging
import os
import random
import re
import signal
import statistics
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Form
from tests.faults.nemesis import Nemesis
from tests.faults.report import Figure, Record, write_record
from tests.faults.trial import REPORT_FOLDER
from tests.faults.web_crowd import Crowd, Deaf
from tests.helpers import eventually
from tests.integration.stored import submit_whole
from tests.integration.test_web_live import cookie_of
from tests.integration.web_stack import Stack
from tests.model.world import World
from yadtq.embedded import EmbeddedRedis
from yadtq.errors import ResultStoreUnavailable

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

logger = logging.getLogger(__name__)

LISTS, OVERVIEWS, BAD = 90, 10, 5
SLOTS = 72  # sockets a process may hold
MB = 1024 * 1024


class WebTrial:
    """A Redis, gunicorn with two processes, and a crowd of pages; figures for the soak's report."""

    def __init__(self, name: str, folder: Path, seed: int) -> None:
        self.name, self.seed, self.begun_at = name, seed, time.time()
        self.nemesis = Nemesis(seed)
        self.chance = random.Random(seed)
        self.redis = EmbeddedRedis(folder / "redis", port=0).start()
        prefix = f"web{uuid.uuid4().hex[:6]}:"
        nowhere = {"kafka_servers": "127.0.0.1:1", "redis_url": self.redis.url, "redis_prefix": prefix}
        self.world = World(self.redis.url, prefix)
        self.stack = Stack(nowhere, app="tests.faults.web_app:app")
        self.cookie = cookie_of(self.stack)
        self.figures: list[Figure] = []
        self.ids: list[str] = []
        self.memory: dict[int, list[int]] = {}  # process -> bytes, sampled
        self.crowd = Crowd(self.stack.url, self.cookie, seed)
        self._ended = threading.Event()
        threading.Thread(target=self._sample, name="memory", daemon=True).start()

    def hold(self, what: str, value: float, at_most: float) -> None:
        """A figure that must not be higher than promised."""
        self.figures.append(Figure(what, value, at_most))
        logger.warning("figure: %s %.3g, at most %g", what, value, at_most)

    def judge(self) -> None:
        """All figures at once, so that a failure shows them beside each other."""
        assert not [figure for figure in self.figures if figure.value > figure.at_most], self.figures

    def close(self, passed: bool) -> None:
        self._ended.set()
        self.crowd.close()
        self.stack.stop()
        self.world.close()
        self.world.plain.close()
        self.redis.stop()
        if REPORT_FOLDER:
            faults = self.nemesis.faults
            write_record(
                Path(REPORT_FOLDER),
                Record(self.name, self.seed, passed, self.begun_at, {}, 0, self.figures, faults, []),
            )

    # -- changes

    def change(self, count: int) -> None:
        """So many changes at once, by real moves; while Redis is away they are made when it is back."""
        some = self.chance.sample(self.ids, min(count, len(self.ids)))
        new = [f"{uuid.uuid4().hex[:24]}" for _ in range(max(1, count // 10))]

        def made() -> bool:
            try:
                half = len(some) // 2
                self.world.cancel_many(some[:half], self.world.time_ms())
                self.world.retry_many((task_id, b"") for task_id in some[half:])
                submit_whole(self.world, *new)
            except ResultStoreUnavailable:
                return False
            return True

        eventually(made, 20, every=0.1)
        self.ids += new

    def keep_changing(self, changes: int, seconds: float) -> threading.Thread:
        """The changes are spread over the time, ten at once."""

        def run() -> None:
            for _ in range(changes // 10):
                self.change(9)
                time.sleep(seconds * 10 / changes)

        thread = threading.Thread(target=run, name="changes", daemon=True)
        thread.start()
        return thread

    # -- what is seen

    def workers(self) -> list[int]:
        """gunicorn's processes that serve."""
        children = Path(f"/proc/{self.stack.web.pid}/task/{self.stack.web.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def inside(self) -> dict[int, dict[str, Any]]:
        """What both processes tell of themselves."""
        found: dict[int, dict[str, Any]] = {}

        def both() -> bool:
            with urllib.request.urlopen(f"{self.stack.url}/inside", timeout=5) as answer:
                told = json.loads(answer.read())
            found[told["pid"]] = told
            return len(found) == 2

        eventually(both, 20, every=0.01)
        return found

    def _sample(self) -> None:
        while not self._ended.wait(0.25):
            for pid in self.workers():
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue  # it has just ended
                if found := re.search(r"VmRSS:\s+(\d+) kB", status):
                    self.memory.setdefault(pid, []).append(int(found[1]) * 1024)

    def held(self) -> dict[str, tuple[int, str]]:
        """All tasks as Redis has them."""
        return {task.id: (task.seq, str(task.status)) for task in self.stack.views.tasks_by_id(self.ids).values()}

    def wrong_tables(self) -> list[str]:
        """Live tables that differ from Redis."""
        held = self.held()
        newest = {task.id for task in self.stack.views.tasks(limit=50).items}
        wrong = []
        for number, reader in enumerate(self.crowd.readers):
            if reader.view != "tasks":
                continue
            rows = dict(reader.rows)
            stale = sum(held.get(task_id) != row for task_id, row in rows.items())
            if stale or newest - rows.keys():
                how = "live" if reader.live else "polling"
                wrong.append(f"{number} ({how}): {stale} rows differ, {len(newest - rows.keys())} of the newest lack")
        return wrong

    # -- harms

    def kill_a_process(self, chance: random.Random) -> str:
        victim = chance.choice(self.workers())
        os.kill(victim, signal.SIGKILL)
        return f"kill -9 of web process {victim}"

    def restart_redis(self, _: random.Random) -> str:
        self.redis.kill()
        time.sleep(1.0)
        self.redis.start()
        return "Redis killed, back after a second"

    def hang_up(self, _: random.Random) -> str:
        """HUP; every socket that was open is closed by 1012, and in time."""
        before, closed = self.crowd.live, len(self.crowd.log.closed)
        started = time.monotonic()
        self.stack.reload()
        eventually(lambda: len(self.crowd.log.closed) >= closed + before, 10)
        ends = self.crowd.log.closed[closed : closed + before]
        self.hold("sockets closed by HUP otherwise than by 1012", sum(code != 1012 for _, code in ends), 0)
        self.hold("seconds from HUP to the last 1012", max(at for at, _ in ends) - started, 2)
        return f"HUP with {before} sockets open"

    def misbehave(self, _: random.Random) -> str:
        """Five that do not read, five that flood, one from another site."""
        deaf = [Deaf(self.stack.port, self.cookie, self.stack.url) for _ in range(BAD)]
        let_in = [one for one in deaf if one.status == 101]
        floods = self.crowd.flood(BAD)
        stranger = Deaf(self.stack.port, self.cookie, "http://evil.example")
        for _ in range(3):
            self.change(100)  # more than their buffers take
        started = time.monotonic()
        self.hold("browsers that do not read and are still there", sum(not one.cut(6.0) for one in let_in), 0)
        self.hold("seconds until the last of them was dropped", time.monotonic() - started, 5)
        codes = [flood.result(30) for flood in floods]
        self.hold("floods that were not put out", sum(code not in (1006, 1008) for code in codes), 0)
        self.hold("handshakes of another site that were not answered 403", float(stranger.status != 403), 0)
        for one in (*deaf, stranger):
            one.close()
        return f"{len(let_in)} do not read, {BAD} flood (put out by {sorted(set(codes))}), one from another site"


@pytest.fixture
def trial(request: pytest.FixtureRequest, tmp_path: Path, seed: int) -> Iterator[WebTrial]:
    logger.warning("seed %d", seed)
    made = WebTrial(request.node.name, tmp_path, seed)
    try:
        yield made
    finally:
        made.close(passed=made.figures != [] and all(figure.value <= figure.at_most for figure in made.figures))


@pytest.mark.soak  # its bounds are times, which a machine that others use as well does not keep
def test_15_the_web_is_shaken_while_a_hundred_pages_look_on(trial: WebTrial, form: Form) -> None:
    rounds, spell = (3, 12.0) if form.whole else (1, 4.0)
    trial.ids = [uuid.uuid4().hex[:24] for _ in range(200)]
    submit_whole(trial.world, *trial.ids)
    crowd = trial.crowd
    crowd.probe("/", "/tasks", "/tasks?status=failed", "/workers")
    eventually(lambda: len(crowd.probes) > 12, 30)
    quiet = trial.inside()
    rss = {pid: max(samples) for pid, samples in trial.memory.items()}
    crowd.join(LISTS, "/tasks", "tasks")
    crowd.join(OVERVIEWS, "/", "overview")
    eventually(lambda: crowd.live == LISTS + OVERVIEWS, 30)

    crowd.probes.clear()
    changing = trial.keep_changing(1_000, 4 * rounds * spell)
    for _ in range(rounds):
        for harm in (trial.kill_a_process, trial.misbehave, trial.hang_up, trial.restart_redis):
            trial.nemesis.once(harm)
            time.sleep(spell)  # for the pages to meet what comes of it
    changing.join(120)
    began = time.monotonic()
    eventually(lambda: not trial.wrong_tables(), 20, every=0.1)
    trial.hold("seconds after the last change until every table is as Redis", time.monotonic() - began, 5)

    trial.hold("MB that a process grew by", max(grown(trial.memory, max(rss.values()))) / MB, 50)
    # The short form is little more than the seconds in which new processes start.
    usual = 0.3 if form.whole else 1.0
    trial.hold("seconds that 95 % of the pages took at most", statistics.quantiles(crowd.probes, n=20)[-1], usual)
    assert not crowd.failures()
    eventually(lambda: crowd.live == LISTS + OVERVIEWS, 30)
    crowd.close()
    began = time.monotonic()
    eventually(lambda: all(told["sockets"] == 0 and not extra(told, quiet) for told in trial.inside().values()), 20)
    trial.hold("seconds until all threads of the sockets were gone", time.monotonic() - began, 10)
    trial.judge()


def test_15_one_page_too_many_asks_instead_and_the_others_go_on(trial: WebTrial) -> None:
    lines = [Deaf(trial.stack.port, trial.cookie, trial.stack.url) for _ in range(2 * SLOTS + 20)]
    accepted = sum(line.status == 101 for line in lines)
    trial.crowd.join(1, "/tasks", "tasks")
    trial.crowd.probe("/", "/tasks")
    eventually(lambda: len(trial.crowd.probes) > 10, 30)

    told = trial.inside()
    assert accepted <= 2 * SLOTS
    assert {line.status for line in lines} == {101, 503}
    assert max(process["sockets"] for process in told.values()) == SLOTS
    trial.hold("seconds that 95 % of the pages took at most", statistics.quantiles(trial.crowd.probes, n=20)[-1], 1)
    trial.ids = ["late"]
    submit_whole(trial.world, "late")
    eventually(lambda: "late" in trial.crowd.readers[0].rows, 5)
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
