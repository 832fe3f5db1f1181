"""One process of a fleet, step by step: its clock, its line to Redis, and the rounds of a worker's threads.

Each worker is a real TaskWorker whose threads are never started: their rounds are called one at a time. At every
round trip to Redis a call can fail, a reply can be lost, the process can die, and anybody else can act.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.model.log import LogBroker
from yadtq import DoNotRetry, TaskWorker
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_lease import Abandoned
from yadtq.core.yadtq_pools import Slot
from yadtq.core.yadtq_publisher import Publisher
from yadtq.core.yadtq_result_db import ClaimItem, Reply, ResultStore, Unanswered
from yadtq.errors import ResultStoreUnavailable, TaskCancelled

if TYPE_CHECKING:
    from tests.model.fleet import Fleet

SLOTS = 2
Trouble = tuple[str, str, str]  # the fate of a round trip; what others do before it, and after it


class Died(BaseException):
    """The process is gone, in the middle of whatever it did."""


class Clock:
    """The one clock of all processes, which stands still unless a test moves it; waiting moves it."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        self.now, wall, looks = 1000.0, time.time(), itertools.count()
        self.jumped = 0.0  # seconds by which people have set the wall clock
        self._patch = pytest.MonkeyPatch()
        # The real one never says the same twice, and answers are judged by that.
        self._patch.setattr(time, "monotonic", lambda: self.now + next(looks) * 1e-9)
        self._patch.setattr(time, "sleep", wait)
        self._patch.setattr(time, "time", lambda: wall + self.now - 1000.0 + self.jumped)

    def restore(self) -> None:
        self._patch.undo()


class Patience:
    """In place of an event that a thread would wait for: time passes instead."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        self._wait, self._set = wait, False

    def wait(self, seconds: float) -> bool:
        self._wait(seconds)
        return self._set

    def set(self) -> None:
        self._set = True

    def is_set(self) -> bool:
        return self._set


class Line(ResultStore):
    """One process's connection to Redis, whose times are those of a clock that tests can move."""

    def __init__(self, fleet: Fleet, owner: object) -> None:
        super().__init__(fleet.world.settings)
        self._fleet, self._owner = fleet, owner

    def run(self, move: str, *args: Any) -> Reply:
        fate, before, after = self._fleet.next_trouble(self._owner)
        self._fleet.happen(before)
        if fate == "die before":
            raise Died
        if fate == "unsent":
            raise ResultStoreUnavailable("Redis is away")
        era = f"era {self._fleet.restarts}"  # the real one tells when the data set began, which is moved in time
        if move in ("beat", "claim", "release"):
            args = tuple(self._fleet.world.era if arg == era else arg for arg in args)
        reply = super().run(move, *args)
        self._fleet.promises.redis_answered(reply.now + self._fleet.world.passed)
        self._fleet.look()
        self._fleet.happen(after)
        if fate == "die after":
            raise Died
        if fate == "lost":
            raise Unanswered("Redis did not answer")
        return Reply(era, reply.now + self._fleet.world.passed, reply.items)

    def time_ms(self) -> int:
        return super().time_ms() + self._fleet.world.passed

    def cancel_many(self, ids: Iterable[str], asked_at: int, by: str = "") -> list[str]:
        return super().cancel_many(ids, asked_at - self._fleet.world.passed, by)

    def retry_many(self, tasks: Iterable[tuple[str, bytes]], asked_at: int, by: str = "") -> list[list[str]]:
        return super().retry_many(tasks, asked_at - self._fleet.world.passed, by)

    def claim(
        self, inc: str, worker: str, items: Sequence[ClaimItem], *, era: str = "", reasserts: bool = False
    ) -> Reply:
        passed = self._fleet.world.passed
        moved = [replace(item, record_time=item.record_time - passed) for item in items]
        reply = super().claim(inc, worker, moved, era=era, reasserts=reasserts)
        self._fleet.promises.note_claims(items, reply.items)
        return reply

    def rebuild(self, rows: Any) -> Reply:
        passed = self._fleet.world.passed
        return super().rebuild((*row[:4], row[4] - passed, row[5] and row[5] - passed, *row[6:]) for row in rows)


def step_by_step(publisher: Publisher) -> None:
    """Its thread is never started."""
    publisher._start = lambda: None  # type: ignore[method-assign]


def publish(publisher: Publisher) -> None:
    """What its thread does in one round."""
    publisher._send_batch(None)
    publisher._confirm()


class Member:
    """One worker process; each method is one round of one of its threads."""

    def __init__(self, fleet: Fleet, name: str, *, knows_all: bool) -> None:
        self.fleet, self.name = fleet, name
        self.busy: set[str] = set()  # the threads that are in the middle of a round
        self.begun: list[tuple[Delivery, Any]] = []
        self.how = "ok"  # how the next run ends
        self.newest_first = False
        self.token = ""  # of the run that ends now
        self.broker = LogBroker(fleet.world.settings, fleet.log)
        handlers = {"work": self._work, **({"rare": self._work} if knows_all else {})}
        self.worker = TaskWorker(self.broker, Line(fleet, self), handlers, concurrency=SLOTS, name=name, grace=2.0)
        self.worker._lease.abandon = Patience(fleet.wait)  # type: ignore[assignment]
        self.worker._pool.slots += [Slot() for _ in range(SLOTS)]  # without their threads
        step_by_step(self.worker._publisher)
        assert self.worker._meet_redis()
        assert self.worker._meet_kafka()

    @property
    def consumer(self) -> Any:
        """None while it is out of the group."""
        return self.worker._poller.consumer

    def _work(self, _size: str) -> str:
        if self.how == "error":
            raise ValueError("an attempt failed")
        if self.how == "final":
            raise DoNotRetry("it makes no sense")
        if self.how == "cancelled":
            raise TaskCancelled
        return self.token  # tells runs apart

    def do(self, part: str) -> None:
        """One round of one thread, unless it is in one already; no thread of a worker that adapts goes on."""
        if part in self.busy or self.worker._recovery._lock.locked():
            return
        self.busy.add(part)
        try:
            getattr(self, part)()
        except (Abandoned, ResultStoreUnavailable):
            pass  # the keeper's loop waits for better times
        finally:
            self.busy.discard(part)

    def poll(self) -> None:
        self.worker._poller.step()

    def commit(self) -> None:
        self.worker._poller.commit()

    def claim(self) -> None:
        self.worker._claimer.step()

    def begin(self) -> None:
        """The pool's threads take what they are given."""
        pool = self.worker._pool
        free = [slot for slot in pool.slots if slot.run is None]
        for delivery in pool.take_unbegun():
            if free:
                slot = free.pop()
                slot.run = delivery
                self.fleet.promises.note_start(delivery.token)
                self.begun.append((delivery, slot))
            else:
                pool.put(delivery)

    def end(self) -> None:
        if self.begun:
            delivery, slot = self.begun.pop(-1 if self.newest_first else 0)
            self.token, self.how = delivery.token, "cancelled" if slot.cancelled else self.how
            if not slot.dropped:
                self.worker._pool._execute(delivery, slot)
            slot.end()
            self.how = "ok"

    def finish(self) -> None:
        if not self.worker._finisher.idle:
            self.worker._finisher.step()

    def beat(self) -> None:
        self.worker._heartbeat.beat()

    def keep(self) -> None:
        self.worker._keeper.move_due()
        self.worker._keeper.sweep()
        self.worker._keeper.reap()

    def audit(self) -> None:
        self.worker._keeper.audit()

    def publish(self) -> None:
        publish(self.worker._publisher)

    def round(self) -> None:
        """A moment in the life of a worker without trouble."""
        for part in ("beat", "poll", "claim", "begin", "end", "end", "finish", "keep", "publish", "commit"):
            self.do(part)

    def stop(self) -> None:
        """SIGTERM; while it drains, the other threads go on."""
        self.broker.between = self._while_draining
        self.worker._drain.run(self.worker._grace)
        self.publish()
        self.worker._leave()

    def _while_draining(self) -> None:
        self.fleet.pass_time(500)
        for part in ("beat", "end", "finish"):
            self.do(part)
