"""A whole fleet in one thread: clients, workers, their Redis and their log, with others acting between any two steps."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence

from tests.model.log import Consumer, Log, LogBroker
from tests.model.member import Clock, Died, Line, Member, Trouble, publish, step_by_step
from tests.model.promises import LONG, Promises
from tests.model.reference import GAP_MARGIN
from tests.model.world import World
from yadtq import TaskClient

PARTITIONS = 2
OLD = 2 * GAP_MARGIN  # ms


class Fleet:
    """Clients, workers, their Redis and their log."""

    def __init__(self, url: str, prefix: str) -> None:
        self.world = World(url, prefix, retry_backoff=1.0, retry_backoff_max=4.0, partitions=PARTITIONS)
        self.clock = Clock(self.wait)
        self.log = Log([self.world.settings.topic], PARTITIONS)
        self.promises = Promises(self.log, self.living)
        self.members: list[Member] = []
        self.troubles: deque[Trouble] = deque()
        self.troubled: object = None  # whose round trips the troubles are for
        self.restarts = 0
        self.broken = False
        self._unsafe = 0  # ms since Redis last wrote to disk
        self._names = itertools.count(1)
        self.world.release("nobody", [], leave=False)  # the data begins,
        self.world.pass_time(OLD)  # long before the first submit
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
        if member.consumer is not None:
            member.consumer.handler = None
        for position, owner in self.log.owner.items():
            if owner is not None and owner is member.consumer:
                self.log.owner[position] = None
        member.worker._store.close()

    def pick(self, number: int) -> Member:
        return self.members[number % len(self.members)]

    def living(self) -> set[str]:
        """The incarnations that go on."""
        return {member.worker._lease.inc for member in self.members}

    def begin_one(self) -> tuple[Member, str]:
        """The only member runs a task that was just submitted."""
        (member,) = self.members
        task_id = self.client.submit("work", "")
        publish(self.client._publisher)
        for part in ("beat", "poll", "claim", "begin"):
            member.do(part)
        return member, task_id

    def suspect(self, task_id: str) -> None:
        """As if two workers had died with the task."""
        if self.world.picture().rows.get(task_id, {}).get("status") == "queued":
            self.world.plain.hset(self.world.key("t:", task_id), "lost", 2)

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
            heirs = self.group()
            if heirs:
                heir = heirs[(heirs.index(owner) + 1 if owner in heirs else number) % len(heirs)]
                self.log.give(position, heir, told=number % 2 == 0)

    def group(self) -> list[Consumer]:
        """Those who are in the group; a member may be out of it for a while."""
        return [member.consumer for member in self.members if member.consumer is not None]

    def nobodys_partitions_are_given_out(self) -> None:
        group = self.group()
        for number, (position, owner) in enumerate(list(self.log.owner.items())):
            if owner is None and group:
                self.log.give(position, group[number % len(group)], told=True)

    def partitions_return(self) -> None:
        """Taken away and given back between two looks at the assignment."""
        for number, (position, owner) in enumerate(list(self.log.owner.items())):
            self.log.give(position, owner, told=number % 2 == 0)
        for consumer in {member.consumer for member in self.own()} & set(self.group()):
            consumer._hear()

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
        if ms > LONG:
            self.look()

    def wait(self, seconds: float) -> None:
        self.pass_time(int(seconds * 1000))

    def three_seconds(self) -> None:
        self.pass_time(3_000)

    def redis_goes_back(self) -> None:
        """A crash: what was written since the last write to disk is gone."""
        self.world.go_back(self._copy)
        self.restarts += 1
        self.promises.redis_went_back(self.world.picture())
        self._another_server()

    def redis_restarts(self) -> None:
        """Nothing is lost, and nobody can know."""
        self.world.restart()
        self.restarts += 1
        self._another_server()

    def redis_is_emptied(self) -> None:
        self.world.wipe()
        self.restarts += 1
        self.promises.redis_was_emptied()
        self._another_server()
        self.fsync()

    def _another_server(self) -> None:
        submits = self.world.picture().zsets.get("index:all", {})
        self.promises.gap_begins(max(submits.values()) / 1000 + self.world.passed if submits else 0)

    def look(self) -> None:
        self.broken = True  # until it is known that nothing is
        self.promises.check(self.world.picture(), self.world.time_ms())
        self.broken = False
