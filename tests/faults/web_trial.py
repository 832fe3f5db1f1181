"""A trial of the web: a Redis, gunicorn with two processes, and a crowd of pages; what harms them, and what is seen of it."""

from __future__ import annotations

import json
import logging
import math
import os
import random
import re
import signal
import threading
import time
import urllib.request
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults.children import children_of, tracebacks_in
from tests.faults.nemesis import Nemesis
from tests.faults.report import Figure, Record, write_record
from tests.faults.trial import REPORT_FOLDER
from tests.faults.web_crowd import Crowd, Deaf
from tests.faults.web_page import PAGE, wrong_rows
from tests.helpers import eventually
from tests.integration.stored import submit_whole
from tests.integration.test_web_live import cookie_of
from tests.integration.web_stack import Stack
from tests.model.world import World
from yadtq.embedded import EmbeddedRedis
from yadtq.errors import ResultStoreUnavailable

logger = logging.getLogger(__name__)

BAD = 5  # browsers of each kind that misbehave
IN_THE_END = 60.0  # seconds; what takes longer does not happen
# What a reading may get in place of its page: Redis is away, or the process that answers is killed or told to end.
ALLOWED = {"503", "cut off"}


class WebTrial:
    """``in_time``: whether times are judged. A machine that others use as well does not keep them; all else it does."""

    def __init__(self, name: str, folder: Path, seed: int, *, in_time: bool) -> None:
        self.name, self.seed, self.begun_at = name, seed, time.time()
        self._in_time = in_time
        self.nemesis = Nemesis(seed)
        self.chance = random.Random(seed)
        self.redis = EmbeddedRedis(folder / "redis", port=0).start()
        prefix = f"web{uuid.uuid4().hex[:6]}:"
        nowhere = {"kafka_servers": "127.0.0.1:1", "redis_url": self.redis.url, "redis_prefix": prefix}
        self.world = World(self.redis.url, prefix)
        self._log = folder / "web.log"
        self.stack = Stack(nowhere, app="tests.faults.web_app:app", log=self._log)
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

    def hold_time(self, what: str, seconds: float, at_most: float) -> None:
        """The same of a time, which is told and not judged where the machine has other things to do."""
        self.hold(what, seconds, at_most if self._in_time else math.inf)

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

    def must_be_well(self) -> None:
        """Fail where a page has stopped, or got what no page should get, or the web logged a traceback."""
        wrong = self.crowd.failures(), set(self.crowd.log.failed) - ALLOWED, tracebacks_in(self._log)
        assert wrong == ([], set(), []), wrong

    # -- changes -----------------------------------------------------------------------------------

    def change(self, count: int) -> None:
        """So many changes at once, by real moves; while Redis is away they are made when it is back."""
        some = self.chance.sample(self.ids, min(count, len(self.ids)))
        new = [f"{uuid.uuid4().hex[:24]}" for _ in range(max(1, count // 10))]

        def made() -> bool:
            try:
                half = len(some) // 2
                self.world.cancel_many(some[:half], self.world.time_ms())
                self.world.retry_many([(task_id, b"") for task_id in some[half:]], self.world.time_ms())
                submit_whole(self.world, *new)
            except ResultStoreUnavailable:
                return False
            return True

        eventually(made, IN_THE_END, every=0.1)
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

    # -- what is seen ------------------------------------------------------------------------------

    def workers(self) -> list[int]:
        """gunicorn's processes that serve."""
        return children_of(self.stack.web.pid)

    def inside(self) -> dict[int, dict[str, Any]]:
        """What both processes tell of themselves."""
        found: dict[int, dict[str, Any]] = {}

        def both() -> bool:
            with urllib.request.urlopen(f"{self.stack.url}/inside", timeout=IN_THE_END) as answer:
                told = json.loads(answer.read())
            found[told["pid"]] = told
            return len(found) == 2

        eventually(both, IN_THE_END, every=0.01)
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

    def wrong_tables(self) -> list[str]:
        """Live tables that differ from Redis, in which nothing moves any more."""
        held = self.stack.views.tasks_by_id(self.ids)
        newest = [task.id for task in self.stack.views.tasks(limit=PAGE).items]
        found = []
        for number, reader in enumerate(self.crowd.readers):
            wrong = wrong_rows(dict(reader.rows), [] if reader.waiting else newest, held, held)
            if reader.view == "tasks" and wrong:
                found.append(f"{number} ({'live' if reader.live else 'polling'}): {wrong}")
        return found

    # -- harms -------------------------------------------------------------------------------------

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
        eventually(lambda: len(self.crowd.log.closed) >= closed + before, IN_THE_END)
        ends = self.crowd.log.closed[closed : closed + before]
        self.hold("sockets closed by HUP otherwise than by 1012", sum(code != 1012 for _, code in ends), 0)
        self.hold_time("seconds from HUP to the last 1012", max(at for at, _ in ends) - started, 2)
        return f"HUP with {before} sockets open, closed by {dict(Counter(code for _, code in ends))}"

    def _deaf(self) -> Deaf | None:
        """One that is let in; None where the process that answers has no place left."""
        line = Deaf(self.stack.port, self.cookie, self.stack.url)
        if line.status == 101:
            return line
        line.close()
        return None

    def misbehave(self, _: random.Random) -> str:
        """Five that do not read, five that flood, one from another site."""
        deaf = [eventually(self._deaf, IN_THE_END, every=0.1) for _ in range(BAD)]
        floods = self.crowd.flood(BAD)
        stranger = Deaf(self.stack.port, self.cookie, "http://evil.example")
        for _ in range(3):
            self.change(100)  # more than their buffers take
        started = time.monotonic()
        self.hold("browsers that do not read and are still there", sum(not one.cut(IN_THE_END) for one in deaf), 0)
        self.hold_time("seconds until the last of them was dropped", time.monotonic() - started, 5)
        codes = [flood.result(IN_THE_END) for flood in floods]
        self.hold("floods that were not put out", sum(code not in (1006, 1008) for code in codes), 0)
        self.hold("handshakes of another site that were not answered 403", float(stranger.status != 403), 0)
        for one in (*deaf, stranger):
            one.close()
        return f"{BAD} do not read, {BAD} flood (put out by {sorted(set(codes))}), one from another site"
