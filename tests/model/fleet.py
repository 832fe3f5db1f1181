"""A whole fleet in one thread: the real engine over the real Redis, step by step, with others acting between any two steps.

Each worker is a real TaskWorker whose threads are never started: their rounds are called one at a time. At every
round trip to Redis a call can fail, a reply can be lost, the worker can die, and anybody else can act.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.model.log import Log, LogBroker
from tests.model.promises import Promises
from tests.model.world import World
from yadtq import DoNotRetry, TaskClient, TaskWorker
from yadtq.core.yadtq_delivery import Delivery
from yadtq.core.yadtq_lease import Abandoned
from yadtq.core.yadtq_pools import Slot
from yadtq.core.yadtq_publisher import Publisher
from yadtq.core.yadtq_result_db import ClaimItem, Reply, ResultStore, Unanswered
from yadtq.errors import ResultStoreUnavailable, TaskCancelled

PARTITIONS = 2
SLOTS = 2
Trouble = tuple[str, str, str]  # the fate of a round trip; what others do before it, and after it


class Died(BaseException):
    """The process is gone, in the middle of whatever it did."""


class Clock:
    """The one clock of all processes, which stands still unless a test moves it; waiting moves it."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        self.now, wall = 1000.0, time.time()
        self.jumped = 0.0  # seconds by which people have set the wall clock
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(time, "monotonic", lambda: self.now)
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
        reply = super().run(move, *args)
        era = f"era {self._fleet.restarts}"  # the real one tells when the data set began, which is moved in time
        self._fleet.look()
        self._fleet.happen(after)
        if fate == "die after":
            raise Died
        if fate == "lost":
            raise Unanswered("Redis did not answer")
        return Reply(era, reply.now + self._fleet.world.passed, reply.items)

    def time_ms(self) -> int:
        return super().time_ms() + self._fleet.world.passed

    def cancel(self, task_id: str, asked_at: int) -> str:
        return super().cancel(task_id, asked_at - self._fleet.world.passed)

    def claim(self, inc: str, worker: str, items: Sequence[ClaimItem], *, reasserts: bool = False) -> Reply:
        passed = self._fleet.world.passed
        moved = [replace(item, record_time=item.record_time - passed) for item in items]
        reply = super().claim(inc, worker, moved, reasserts=reasserts)
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
        self.token = ""  # of the run that ends now
        self.broker = LogBroker(fleet.world.settings, fleet.log)
        handlers = {"work": self._work, **({"rare": self._work} if knows_all else {})}
        self.worker = TaskWorker(self.broker, Line(fleet, self), handlers, concurrency=SLOTS, name=name, grace=2.0)
        self.worker._lease.abandon = Patience(fleet.wait)  # type: ignore[assignment]
        self.worker._pool.slots += [Slot() for _ in range(SLOTS)]  # without their threads
        step_by_step(self.worker._publisher)
        assert self.worker._connect()
        self.consumer: Any = self.worker._consumer

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
        self.worker._poll_once()

    def commit(self) -> None:
        self.worker._commit()

    def claim(self) -> None:
        self.worker._claimer.step()

    def begin(self) -> None:
        """The pool's threads take what they are given."""
        pool = self.worker._pool
        free = [slot for slot in pool.slots if slot.run is None]
        for delivery in pool.waiting():
            if free:
                slot = free.pop()
                slot.run = delivery
                self.fleet.promises.note_start(delivery.token)
                self.begun.append((delivery, slot))
            else:
                pool.put(delivery)

    def end(self) -> None:
        if self.begun:
            delivery, slot = self.begun.pop(0)
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
        self.worker._drain()
        self.publish()
        self.worker._leave()

    def _while_draining(self) -> None:
        self.fleet.pass_time(500)
        for part in ("beat", "end", "finish"):
            self.do(part)


class Fleet:
    """Clients, workers, their Redis and their log."""

    def __init__(self, url: str, prefix: str) -> None:
        self.world = World(url, prefix, retry_backoff=1.0, retry_backoff_max=4.0, partitions=PARTITIONS)
        self.clock = Clock(self.wait)
        self.log = Log([self.world.settings.topic], PARTITIONS)
        self.promises = Promises(self.log)
        self.members: list[Member] = []
        self.troubles: deque[Trouble] = deque()
        self.troubled: object = None  # whose round trips the troubles are for
        self.restarts = 0
        self.broken = False
        self._unsafe = 0  # ms since Redis last wrote to disk
        self._names = itertools.count(1)
        self.new_client()
        self.join()
        self.partitions_move()
        self.fsync()

    def close(self) -> None:
        self.clock.restore()
        self.world.wipe()
        self.world.close()
        self.world.plain.close()
        self.client._store.close()
        for member in self.members:
            member.worker._store.close()

    # -- who is there ----------------------------------------------------------------------------------------

    def new_client(self) -> None:
        self.client = TaskClient(LogBroker(self.world.settings, self.log), Line(self, "client"))
        step_by_step(self.client._publisher)

    def join(self) -> Member:
        number = next(self._names)
        member = Member(self, f"w{number}", knows_all=number % 2 == 1)
        self.members.append(member)
        return member

    def bury(self, member: Member) -> None:
        """It is gone, and with it all that it ran; the group hears of it in time."""
        self.members.remove(member)
        member.consumer.handler = None
        for position, owner in self.log.owner.items():
            if owner is member.consumer:
                self.log.owner[position] = None
        member.worker._store.close()

    def pick(self, number: int) -> Member:
        return self.members[number % len(self.members)]

    # -- trouble ---------------------------------------------------------------------------------------------

    def next_trouble(self, owner: object) -> Trouble:
        return self.troubles.popleft() if self.troubles and owner is self.troubled else ("ok", "", "")

    def troubled_step(self, owner: object, troubles: Sequence[Trouble], step: Callable[[], None]) -> None:
        """A step whose first round trips go so; the process may die in it."""
        self.troubled, self.troubles = owner, deque(troubles)
        try:
            step()
        except Died:
            if isinstance(owner, Member):
                self.bury(owner)
            else:
                self.new_client()
        finally:
            self.troubles.clear()
            self.troubled = None

    def happen(self, event: str) -> None:
        """What others do in the middle of somebody's step."""
        if event:
            troubles, self.troubles = self.troubles, deque()
            getattr(self, event.replace(" ", "_"))()
            self.troubles = troubles

    def others(self) -> list[Member]:
        return [member for member in self.members if member is not self.troubled]

    def own(self) -> list[Member]:
        return [member for member in self.members if member is self.troubled]

    def its_other_threads(self) -> None:
        for member in self.own():
            for part in ("poll", "claim", "begin", "end", "finish", "beat", "commit"):
                member.do(part)

    def its_beat(self) -> None:
        for member in self.own():
            member.do("beat")

    def others_go_on(self) -> None:
        for member in self.others():
            member.round()

    def it_is_outlived(self) -> None:
        """It waits for so long that the others declare it dead."""
        for _ in range(5):
            self.pass_time(8_000)
            for member in self.others():
                member.do("beat")
        for member in self.others():
            member.round()

    def partitions_move(self) -> None:
        """Each to the next member, told or not, in turn."""
        for number, (position, owner) in enumerate(list(self.log.owner.items())):
            heirs = [member.consumer for member in self.members]
            if heirs:
                heir = heirs[(heirs.index(owner) + 1 if owner in heirs else number) % len(heirs)]
                self.log.give(position, heir, told=number % 2 == 0)

    def partitions_return(self) -> None:
        """Taken away and given back between two looks at the assignment."""
        for number, (position, owner) in enumerate(list(self.log.owner.items())):
            self.log.give(position, owner, told=number % 2 == 0)
        for member in self.own():
            member.consumer._hear()

    # -- Redis and time --------------------------------------------------------------------------------------

    def fsync(self) -> None:
        """Redis writes to disk what it has."""
        self._copy, self._unsafe = self.world.keep_copy(), 0
        self.promises.on_disk(self.world.picture())

    def pass_time(self, ms: int, *, redis_only: bool = False) -> None:
        self._unsafe += max(0, ms)
        if self._unsafe >= 1000:
            self.fsync()
        self.world.pass_time(ms)
        if not redis_only:
            self.clock.now += ms / 1000
        self.promises.time_passes()

    def wait(self, seconds: float) -> None:
        self.pass_time(int(seconds * 1000))

    def three_seconds(self) -> None:
        self.pass_time(3_000)

    def redis_goes_back(self) -> None:
        """A crash: what was written since the last write to disk is gone."""
        self.world.go_back(self._copy)
        self.restarts += 1
        self.promises.redis_went_back(self.world.picture())

    def redis_restarts(self) -> None:
        """Nothing is lost, and nobody can know."""
        self.restarts += 1

    def redis_is_emptied(self) -> None:
        self.world.wipe()
        self.restarts += 1
        self.promises.redis_was_emptied()
        self.fsync()

    def look(self) -> None:
        self.broken = True  # until it is known that nothing is
        self.promises.check(self.world.picture())
        self.broken = False
