"""The whole engine under everything at once: Hypothesis decides who does what, what is lost on the way, and who dies.

Real worker code, real moves, a real Redis; Kafka is a list. After every round trip the promises are looked at, and in
the end the trouble stops and all that was accepted has to come to its end.
"""

from __future__ import annotations

import contextlib
import uuid

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.model.fleet import Fleet
from tests.model.member import Member, publish
from tests.model.profiles import SHRINKING, machine_settings
from tests.model.reference import RESULT_TTL
from yadtq.embedded import EmbeddedRedis
from yadtq.errors import IllegalMove, ResultStoreUnavailable, TaskNotFound

MOST_TASKS = 8
MOST_MEMBERS = 3
ROUNDS = 100  # of four seconds, in which all must come to its end
PICK = st.integers(0, 1000)
EVENTS = [
    "its other threads", "its beat", "others go on", "it is outlived", "partitions move", "partitions return",
    "three seconds", "fsync", "redis goes back", "redis restarts", "redis is emptied",
]  # fmt: skip
EVENT = st.sampled_from(["", "", "", "", *EVENTS])
IN_A_POLL = st.sampled_from(["partitions return", "partitions return", *EVENTS])
TROUBLE = st.tuples(st.sampled_from(["ok", "ok", "unsent", "lost", "die before", "die after"]), EVENT, EVENT)
TROUBLES = st.one_of(st.just([]), st.lists(TROUBLE, max_size=4))
SPANS = st.sampled_from([100, 600, 2_100, 2_100, 6_000, 21_000, 45_000, 320_000, -3_000, -45_000])
HOURS = RESULT_TTL + 1_000_000  # ms, and less than failed tasks are kept
STEPS = st.sampled_from(["poll", "claim", "begin", "end", "finish", "beat", "keep", "audit", "publish", "commit"])
HOW = st.sampled_from(["ok", "ok", "error", "final"])


class FleetMachine(RuleBasedStateMachine):
    """Clients, workers, keepers, Kafka and Redis."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.fleet = Fleet(url, f"f{uuid.uuid4().hex[:8]}:")
        self.ids: list[str] = []

    def teardown(self) -> None:
        try:
            if not self.fleet.broken:
                self.drain()
        finally:
            self.fleet.close()

    # -- clients ---------------------------------------------------------------------------------------------

    @initialize(count=st.integers(1, 5), sent=st.booleans(), alone=st.booleans())
    def first_tasks(self, count: int, sent: bool, alone: bool) -> None:
        if not alone:
            self.fleet.join()
        for _ in range(count):
            self.submit("work", big=False, delay=None, expires=None, key=None, fates=[], troubles=[], sent=sent)

    @precondition(lambda self: len(self.ids) < MOST_TASKS)
    @rule(
        name=st.sampled_from(["work", "work", "work", "rare"]),
        big=st.booleans(),
        delay=st.sampled_from([None, None, None, 3.0]),
        expires=st.sampled_from([None, None, None, 5.0, 60.0]),
        key=st.sampled_from([None, None, "a"]),
        fates=st.lists(st.sampled_from(["ack", "late", "unheard", "twice", "refused"]), max_size=2),
        troubles=TROUBLES,
        sent=st.booleans(),
    )
    def submit(
        self,
        name: str,
        big: bool,
        delay: float | None,
        expires: float | None,
        key: str | None,
        fates: list[str],
        troubles: list[tuple[str, str, str]],
        sent: bool,
    ) -> None:
        fleet = self.fleet

        def step() -> None:
            task = fleet.client.options(delay=delay, expires=expires, key=key)
            with contextlib.suppress(ResultStoreUnavailable):
                task_id = task.submit(name, "x" * 3000 if big else "")
                fleet.promises.accepted.add(task_id)
                self.ids.append(task_id)
                if sent:
                    publish(fleet.client._publisher)

        fleet.log.fates.extend(fates)
        fleet.troubled_step("client", troubles, step)

    @rule(troubles=TROUBLES)
    def client_publishes(self, troubles: list[tuple[str, str, str]]) -> None:
        self.fleet.troubled_step("client", troubles, lambda: publish(self.fleet.client._publisher))

    @precondition(lambda self: self.ids)
    @rule(pick=PICK, what=st.sampled_from(["cancel", "retry"]))
    def a_person_acts(self, pick: int, what: str) -> None:
        task_id, fleet = self.ids[pick % len(self.ids)], self.fleet
        fleet.promises.retried = {task_id}
        with contextlib.suppress(IllegalMove, TaskNotFound):
            getattr(fleet.client, what)(task_id)
        fleet.promises.retried = set()

    # -- workers ---------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.fleet.members) < MOST_MEMBERS)
    @rule()
    def join(self) -> None:
        self.fleet.join()
        self.fleet.partitions_move()

    @precondition(lambda self: self.fleet.members)
    @rule(who=PICK, part=STEPS, how=HOW, troubles=TROUBLES)
    def step(self, who: int, part: str, how: str, troubles: list[tuple[str, str, str]]) -> None:
        member = self.fleet.pick(who)
        member.how = how
        self._troubled(member, part, troubles)

    @precondition(lambda self: self.fleet.members)
    @rule(who=PICK, how=HOW, at=st.integers(0, 9), troubles=TROUBLES)
    def work(self, who: int, how: str, at: int, troubles: list[tuple[str, str, str]]) -> None:
        """All threads of a worker in turn, one of them in trouble."""
        member = self.fleet.pick(who)
        for number, part in enumerate(("poll", "claim", "begin", "end", "finish", "keep", "publish", "beat", "commit")):
            if member in self.fleet.members:
                member.how = how
                self._troubled(member, part, troubles if number == at else [])

    def _troubled(self, member: Member, part: str, troubles: list[tuple[str, str, str]]) -> None:
        self.fleet.troubled_step(member, troubles, lambda: member.do(part))

    @precondition(lambda self: self.fleet.members)
    @rule(times=st.integers(1, 3), ends=st.integers(0, 2), how=HOW, newest=st.booleans())
    def life_goes_on(self, times: int, ends: int, how: str, newest: bool) -> None:
        """Two seconds at a time; ``ends``: how many runs end at each worker, the newest or the oldest first."""
        for _ in range(times):
            self.fleet.pass_time(2_100)
            for member in self.fleet.members:
                member.how, member.newest_first = how, newest
                for part in ("beat", "poll", "claim", "begin", *["end"] * ends, "finish", "keep", "publish", "commit"):
                    member.do(part)
                member.newest_first = False

    @precondition(lambda self: self.ids)
    @rule(pick=PICK)
    def two_workers_have_died_of(self, pick: int) -> None:
        """A task, which is a suspect from its next run on."""
        self.fleet.suspect(self.ids[pick % len(self.ids)])

    @precondition(lambda self: len(self.fleet.members) > 1)
    @rule(who=PICK)
    def worker_is_away(self, who: int) -> None:
        """Stopped for so long that the others declare it dead; then it goes on."""
        self.fleet.troubled_step(self.fleet.pick(who), [], self.fleet.it_is_outlived)

    @precondition(lambda self: self.fleet.members)
    @rule(who=PICK, events=st.lists(IN_A_POLL, max_size=2))
    def poll_and_others_act(self, who: int, events: list[str]) -> None:
        """Kafka's IO thread and everybody else, between what a poll returns and what is made of it."""
        member = self.fleet.pick(who)
        member.broker.between = lambda: [self.fleet.happen(event) for event in events] and None
        self._troubled(member, "poll", [])
        member.broker.between = lambda: None

    @precondition(lambda self: self.fleet.members)
    @rule(who=PICK)
    def kill(self, who: int) -> None:
        self.fleet.bury(self.fleet.pick(who))

    @precondition(lambda self: self.fleet.members)
    @rule(who=PICK, troubles=TROUBLES)
    def stop(self, who: int, troubles: list[tuple[str, str, str]]) -> None:
        member = self.fleet.pick(who)
        self.fleet.troubled_step(member, troubles, member.stop)
        if member in self.fleet.members:
            self.fleet.bury(member)

    # -- Kafka -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.fleet.members)
    @rule(position=PICK, to=PICK, told=st.booleans(), eagerly=st.booleans())
    def rebalance(self, position: int, to: int, told: bool, eagerly: bool) -> None:
        """One partition moves; or all are taken from all, then given out again."""
        log = self.fleet.log
        owners = dict(log.owner)
        if eagerly:
            for each in owners:
                log.give(each, None, told=told)
            for number, (each, owner) in enumerate(owners.items()):
                log.give(each, owner or self.fleet.pick(number).consumer, told=told)
        else:
            log.give(list(owners)[position % len(owners)], self.fleet.pick(to).consumer, told=told)

    @rule(pick=PICK, wait=st.booleans())
    def an_answer_of_kafka_arrives(self, pick: int, wait: bool) -> None:
        """To a send or a commit, in any order but that of one consumer's commits; ``wait``: later commits take their time."""
        log = self.fleet.log
        log.commits_wait = wait
        if log.waiting:
            log.waiting.pop(pick % len(log.waiting))()

    @precondition(lambda self: any(self.fleet.log.entries.values()))
    @rule(position=PICK, offset=PICK, to=PICK)
    def record_comes_again(self, position: int, offset: int, to: int) -> None:
        """A copy of any record, in any partition."""
        log = self.fleet.log
        filled = [entries for entries in log.entries.values() if entries]
        entries, targets = filled[position % len(filled)], list(log.entries)
        entry, target = entries[offset % len(entries)], targets[to % len(targets)]
        again = entry.received._replace(offset=len(log.entries[target]))
        log.entries[target].append(entry._replace(received=again))

    @rule(position=PICK, upto=st.integers(1, 6), sure=st.integers(0, 4))
    def retention(self, position: int, upto: int, sure: int) -> None:
        log = self.fleet.log
        if not sure:
            positions = list(log.entries)
            taken = log.eat(positions[position % len(positions)], upto)
            self.fleet.promises.retention_took(taken, self.fleet.world.picture().rows)

    # -- Redis and time --------------------------------------------------------------------------------------

    @rule(how=st.sampled_from(["redis", "workers", *["all"] * 4, *["all live on"] * 2]), span=SPANS)
    def time_passes(self, how: str, span: int) -> None:
        """For all alike, or a clock jumps; where all live on, nobody is missed, and what runs, runs long."""
        fleet = self.fleet
        if how == "workers":
            fleet.clock.jumped += span / 1000
        elif how == "redis":
            fleet.promises.clock_went_back |= span < 0
            fleet.pass_time(span, redis_only=True)
        elif how == "all":
            fleet.pass_time(abs(span))
        else:
            for _ in range(abs(span) // 8_000):
                fleet.pass_time(8_000)
                for member in fleet.members:
                    member.do("beat")

    @rule(sure=st.integers(0, 3))
    def hours_pass(self, sure: int) -> None:
        """All are away for so long that what has ended is forgotten."""
        if not sure:
            self.fleet.pass_time(HOURS)

    @rule(event=st.sampled_from(["fsync", "redis goes back", "redis goes back", "redis restarts", "redis is emptied"]))
    def something_happens_to_redis(self, event: str) -> None:
        self.fleet.happen(event)

    # -- what holds ------------------------------------------------------------------------------------------

    @invariant()
    def promises_are_kept(self) -> None:
        self.fleet.look()

    def drain(self) -> None:
        """Without any more trouble, everything comes to its end."""
        fleet = self.fleet
        fleet.log.fates.clear()
        fleet.log.commits_wait = False
        while fleet.log.waiting:
            fleet.log.waiting.pop(0)()
        if not fleet.members:
            fleet.join()
        if not self.come_to_rest() and fleet.promises.eaten:  # what is gone from Kafka is for the audit
            self.time_passes("all live on", 320_000)
            fleet.members[0].do("audit")
            self.come_to_rest()
        picture = fleet.world.picture()
        still = fleet.promises.open(picture)
        assert not still, f"accepted, and it does not end: {[picture.rows.get(task_id) for task_id in still]}"
        ends = {position: len(entries) for position, entries in fleet.log.entries.items()}
        starts = {position: fleet.log.start_of(position) for position in ends}
        assert starts == ends, f"what is done is not committed: {starts} of {ends}"
        assert not picture.zsets.get("outbox")
        assert not [member.worker._lease.held for member in fleet.members if member.worker._lease.held]

    def come_to_rest(self) -> bool:
        fleet = self.fleet
        for _ in range(ROUNDS):
            fleet.nobodys_partitions_are_given_out()
            fleet.pass_time(4_000)
            for member in fleet.members:
                member.round()
            publish(fleet.client._publisher)
            if self.quiet():
                return True
        return False

    def quiet(self) -> bool:
        fleet = self.fleet
        if any(fleet.log.start_of(position) < len(entries) for position, entries in fleet.log.entries.items()):
            return False
        picture = fleet.world.picture()
        return not fleet.promises.open(picture) and not picture.zsets.get("outbox")


@pytest.mark.timeout(SHRINKING)
def test_nothing_is_lost_and_nothing_is_doubled(redis_server: EmbeddedRedis) -> None:
    run_state_machine_as_test(lambda: FleetMachine(redis_server.url), settings=machine_settings(120, 40))
