"""The worker's beat: every five seconds it says that it lives, what it holds and runs, and hears what people ask of it."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_lease import Abandoned, Lease
from yadtq.core.yadtq_pools import Pool
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_usage import Usage

logger = logging.getLogger(__name__)

BEAT_EVERY = 5.0  # seconds
LOOK_EVERY = 0.5  # seconds between two looks at whether an answer would settle something
MAX_SHOWN = 200  # running tasks a beat names


@dataclass(frozen=True)
class About:
    """What a worker says of itself once."""

    name: str
    host: str
    version: str
    queues: tuple[str, ...]
    concurrency: int
    pool: str
    functions: list[dict[str, Any]]
    target: str = ""  # what `yadtq worker` was given
    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=time.time)


class Heartbeat:
    """One thread that beats; ``state`` gives what changes from beat to beat."""

    def __init__(
        self,
        store: ResultStore,
        lease: Lease,
        pool: Pool[Delivery, Any],
        about: About,
        state: Callable[[], dict[str, Any]],
        fenced: Callable[[str], None],
        obey: Callable[[str], None],
    ) -> None:
        self._store = store
        self._lease = lease
        self._pool = pool
        self._usage = Usage()
        self._about = json.dumps(about.__dict__)
        self._state = state
        self._fenced = fenced
        self._obey = obey  # given each command that people ask of this worker
        self._heard: dict[str, int] = {}  # per incarnation and era, the number of the last command obeyed
        self._told: tuple[str, str | None] | None = None  # the incarnation and era that know about us
        self._every = BEAT_EVERY * store.settings.time_scale
        self._stop = threading.Event()

    def stop(self) -> None:
        self._stop.set()

    def loop(self) -> None:
        next_beat = time.monotonic()
        while not self._stop.wait(min(LOOK_EVERY, max(0.0, next_beat - time.monotonic()))):
            if time.monotonic() < next_beat and not self._lease.settle_due:
                continue
            next_beat = time.monotonic() + self._every
            try:
                self.beat()
            except Abandoned:
                return

    def beat(self) -> None:
        """One beat, repeated until answered; what it brings is obeyed, and told by another one. Raises Abandoned."""
        while self._beat_once():
            pass

    def _beat_once(self) -> bool:
        """Whether it brought a command."""
        inc = self._lease.inc
        known = self._told == (inc, self._lease.era)
        reply = self._lease.ask(lambda: self._store.beat(inc, *self.message(known=known), heard=self._heard_by(inc)))
        if reply.items[0] == b"FENCED":
            self._fenced(inc)
            return False
        self._told = (inc, reply.era)
        commands, *stopping = reply.items[1:]
        self._cancel({item.decode() for item in stopping})
        for command, number in zip(commands[::2], commands[1::2], strict=True):
            self._obey(command.decode())
            self._heard = {f"{inc} {reply.era}": int(number)}
        return bool(commands)

    def _heard_by(self, inc: str) -> int:
        """Of another incarnation or another Redis nothing was heard yet."""
        return self._heard.get(f"{inc} {self._lease.era}", 0)

    def message(self, *, known: bool = False) -> tuple[str, str, list[str], str]:
        """What a beat carries: about ('' where it is known), state, tokens held, the era in which these are all."""
        era = self._lease.era or ""  # before the tokens: a new one is believed when all that it must be told is held
        now, told = time.time(), self._state()
        running = [run for run in self._pool.running() if run.task is not None][:MAX_SHOWN]
        own = {
            "running": [run.task and run.task.id for run in running],
            "ran": [round(max(0.0, now - (run.begun_at or now)), 1) for run in running],
            "stuck": self._pool.stuck,
            "rate": self._usage.rates(told["done"], told["failed"]),
            **self._usage.look(self._pool.pids),
        }
        # Its clock lets others see how far it is from Redis' own.
        state = json.dumps({**own, "clock": round(now, 1), **told})
        return ("" if known else self._about, state, list(self._lease.held), era)

    def _cancel(self, ids: set[str]) -> None:
        if ids:
            self._pool.cancel(lambda delivery: delivery.task is not None and delivery.task.id in ids)
