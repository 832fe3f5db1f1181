"""Every Lua move on a real Redis against the plain model, in every order that Hypothesis can think of.

Time is not waited for: all moments kept in Redis and in the model are moved into the past alike.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from dataclasses import dataclass, replace
from typing import Any

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

from tests.model.checks import check_against_model, check_bounds, check_indexes, check_progress
from tests.model.profiles import SHRINKING, machine_settings
from tests.model.reference import GAP_MARGIN, Model
from tests.model.world import Picture, World
from yadtq.core.yadtq_codec import INLINE_LIMIT
from yadtq.core.yadtq_result_db import ClaimItem, NewTask
from yadtq.embedded import EmbeddedRedis

QUEUES = ("default", "media")
MOST_TASKS = 6  # few, so that they meet often
PICK = st.integers(0, 1000)  # which one of a list whose length differs from run to run
SPANS = st.sampled_from([700, 2_300, 8_100, 16_700, 21_300, 31_900, -3_000, -45_000])
LONG_SPANS = st.sampled_from([3_700_000, 7_300_000, 12_300_000])
MOMENTS = st.sampled_from([None, None, None, None, 0.5, 3.0, 40.0])  # seconds, for delay and expires


@dataclass(frozen=True)
class Published:
    """A record in Kafka; Kafka keeps it whatever Redis does."""

    id: str
    gen: int
    queue: str
    envelope: str
    time: int
    offset: int


@dataclass(frozen=True)
class Run:
    """A claim that was answered RUN, and the record it was made of."""

    inc: str
    token: str
    record: Published


class Moves(RuleBasedStateMachine):
    """Clients, workers and keepers that do anything at any time."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.world = World(url, f"m{uuid.uuid4().hex[:8]}:")
        self.model = Model()
        self.records: list[Published] = []
        self.runs: list[Run] = []
        self.batches: list[list[NewTask]] = []
        self.copies: list[tuple[Any, Model]] = []
        self.fences: dict[str, int] = {}  # per task, the highest
        self.fence_of: dict[str, int] = {}  # per token
        self.before = Picture()
        self.retried: set[str] = set()
        self.numbers = itertools.count(1)

    def teardown(self) -> None:
        self.world.wipe()
        self.world.close()
        self.world.plain.close()

    @property
    def now(self) -> int:
        """Redis' time of the last move."""
        return self.world.reply.now

    @property
    def incs(self) -> list[str]:
        """Incarnations that may claim: they have beaten and have not left."""
        return [inc for inc in self.model.online if inc in self.model.workers]

    # -- clients ---------------------------------------------------------------------------------------------

    @initialize()
    def first_worker(self) -> None:
        self.world.beat("w1", "{}", "{}", [])
        self.model.another_server(self.now)
        self.model.beat(self.now, "w1", [])
        self._pass(2 * GAP_MARGIN)  # the data began long before the first submit

    @precondition(lambda self: len(self.model.rows) < MOST_TASKS)
    @rule(
        count=st.integers(1, 2),
        queue=st.sampled_from(QUEUES),
        delay=MOMENTS,
        expires=MOMENTS,
        big=st.booleans(),
        short=st.booleans(),
        key=st.sampled_from([None, None, None, "a", "b"]),
        sent=st.sampled_from([True, True, False]),
    )
    def enqueue(
        self,
        count: int,
        queue: str,
        delay: float | None,
        expires: float | None,
        big: bool,
        short: bool,
        key: str | None,
        sent: bool,
    ) -> None:
        batch = []
        for _ in range(count):
            task_id = f"t{next(self.numbers)}"
            envelope = f"the envelope of {task_id}".ljust(INLINE_LIMIT + 1 if big else 1)
            args = "[[1],{}]" if short else ""
            new = NewTask(
                task_id, "add", queue, envelope.encode(), args, "" if short else "1", delay or 0.0, expires, key
            )
            batch.append(new)
        self._enqueue(batch, sent=sent)
        self.batches.append(batch)

    @precondition(lambda self: self.batches)
    @rule(pick=PICK, sent=st.booleans())
    def enqueue_again(self, pick: int, sent: bool) -> None:
        """The reply was lost: the same batch once more."""
        self._enqueue(self.batches[pick % len(self.batches)], sent=sent)

    def _enqueue(self, batch: list[NewTask], *, sent: bool) -> None:
        ids = [item.decode() for item in self.world.enqueue(batch).items]
        assert ids == self.model.enqueue(self.now, batch)
        for new, kept in zip(batch, ids, strict=True):
            if sent and kept == new.id and not new.delay:
                self._publish(new.id, 1, new.queue, new.envelope.decode())

    def _publish(self, task_id: str, gen: int, queue: str, envelope: str) -> None:
        record = Published(task_id, gen, queue, envelope, self.now, next(self.numbers))
        self.records.append(record)

    @precondition(lambda self: self.records)
    @rule(picks=st.lists(PICK, min_size=1, max_size=3))
    def acknowledged(self, picks: list[int]) -> None:
        chosen = [self.records[pick % len(self.records)] for pick in picks]
        self.world.published([(record.id, record.gen, 0, record.offset) for record in chosen])
        for record in chosen:
            self.model.published(record.id, record.gen, (0, record.offset))

    @precondition(lambda self: self.model.rows)
    @rule(pick=PICK, older=st.booleans())
    def cancel(self, pick: int, older: bool) -> None:
        """A cancel asked for now; or one that a person's retry has overtaken."""
        retried = [task_id for task_id, row in self.model.rows.items() if row.retried is not None]
        if older and retried:
            task_id = retried[pick % len(retried)]
            asked_at = (self.model.rows[task_id].retried or 0) - 1
        else:
            task_id, asked_at = self._any_task(pick), self.world.time_ms()
        found = self.world.cancel(task_id, asked_at)
        assert found == self.model.cancel(self.now, task_id, asked_at)

    @precondition(lambda self: self.model.rows)
    @rule(pick=PICK, read_back=st.booleans(), older=st.booleans())
    def retry(self, pick: int, read_back: bool, older: bool) -> None:
        """A person's retry, with the envelope read back from Kafka where Redis has none; ``older``: a repeat of one that was obeyed."""
        ended = [task_id for task_id, row in self.model.rows.items() if row.ended]
        failed = [task_id for task_id in ended if self.model.rows[task_id].status == "failed"]
        chosen = failed or ended or sorted(self.model.rows)
        task_id = chosen[pick % len(chosen)]
        self.retried = {task_id}
        asked_at = self.model.rows[task_id].changed - 1 if older else self.world.time_ms()
        found = self.world.retry(task_id, asked_at)
        assert found[0] == self.model.retry(self.now, task_id, asked_at)
        if found[0] == "NOENVELOPE" and read_back:
            row = self.model.rows[task_id]
            place = row.place or ("", "")
            assert found[1:] == [row.queue, str(row.gen), str(place[0]), str(place[1])]
            envelope = f"the envelope of {task_id}".ljust(INLINE_LIMIT + 1)
            assert self.world.retry(task_id, asked_at, envelope.encode()) == ["queued"]
            assert self.model.retry(self.now, task_id, asked_at, envelope) == "queued"

    @precondition(lambda self: self.model.rows)
    @rule(picks=st.lists(PICK, min_size=1, max_size=3), twice=st.booleans())
    def delete(self, picks: list[int], twice: bool) -> None:
        """A person deletes tasks in any state; ``twice``: the first reply was lost."""
        ids = [self._any_task(pick) for pick in picks] + ["unknown"]
        for _ in range(1 + twice):
            found = self.world.delete_many(ids, by="ann")
            assert found == [self.model.delete(self.now, task_id) for task_id in ids]

    @precondition(lambda self: self.model.rows)
    @rule(picks=st.lists(PICK, min_size=1, max_size=3))
    def retry_many(self, picks: list[int]) -> None:
        ids, asked_at = [self._any_task(pick) for pick in picks], self.world.time_ms()
        self.retried = set(ids)
        found = self.world.retry_many([(task_id, b"") for task_id in ids], asked_at, by="ann")
        assert [words[0] for words in found] == [self.model.retry(self.now, task_id, asked_at) for task_id in ids]

    @precondition(lambda self: self.model.rows)
    @rule(picks=st.lists(PICK, min_size=1, max_size=3))
    def cancel_many(self, picks: list[int]) -> None:
        ids, asked_at = [self._any_task(pick) for pick in picks], self.world.time_ms()
        found = self.world.cancel_many(ids, asked_at, by="ann")
        assert found == [self.model.cancel(self.now, task_id, asked_at) for task_id in ids]

    def _any_task(self, pick: int) -> str:
        return sorted(self.model.rows)[pick % len(self.model.rows)]

    # -- workers ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.records and self.incs)
    @rule(who=PICK, picks=st.lists(PICK, min_size=1, max_size=4), newest=st.booleans(), twice=st.booleans())
    def claim(self, who: int, picks: list[int], newest: bool, twice: bool) -> None:
        """Any records, also old and double ones; ``twice``: the first reply was lost."""
        inc = self.incs[who % len(self.incs)]
        among = self.records[-5:] if newest else self.records
        chosen = [among[pick % len(among)] for pick in picks]
        batch = [Run(inc, f"{inc}:{next(self.numbers)}", record) for record in chosen]
        self._claim(inc, batch)
        if twice:
            self._claim(inc, batch)

    @precondition(lambda self: self.records and self.incs)
    @rule(
        who=PICK,
        pick=PICK,
        finishes=st.sampled_from([None, None, "success", "retry", "failed", "handback", "lost", "lost"]),
    )
    def work(self, who: int, pick: int, finishes: str | None) -> None:
        """The usual way: a task's latest record is claimed, and perhaps its run ends."""
        inc = self.incs[who % len(self.incs)]
        run = Run(inc, f"{inc}:{next(self.numbers)}", self._latest(self.records[pick % len(self.records)].id))
        self._claim(inc, [run])
        self.all_is_well()
        if finishes:
            self._finish(inc, [run], finishes, whole=False, delay=0, tells=bool(pick % 2))

    def _latest(self, task_id: str) -> Published:
        return [record for record in self.records if record.id == task_id][-1]

    @precondition(lambda self: any(run.inc in self.incs for run in self.runs))
    @rule(pick=PICK)
    def assert_again(self, pick: int) -> None:
        """Redis has gone back: a worker tells it what it runs, or has just finished."""
        own = [run for run in self.runs if run.inc in self.incs]
        run = own[pick % len(own)]
        self._claim(run.inc, [run], reasserts=True)

    @precondition(lambda self: self.model.dead and self.records)
    @rule(pick=PICK)
    def claim_when_dead(self, pick: int) -> None:
        inc = sorted(self.model.dead)[pick % len(self.model.dead)]
        self._claim(inc, [Run(inc, f"{inc}:{next(self.numbers)}", self.records[-1])])

    @precondition(lambda self: self.records and self.incs)
    @rule(who=PICK, pick=PICK)
    def claim_in_another_era(self, who: int, pick: int) -> None:
        """Nothing is answered, and nothing changes."""
        inc, record = self.incs[who % len(self.incs)], self.records[pick % len(self.records)]
        item = ClaimItem(record.id, record.gen, f"{inc}:{next(self.numbers)}", record.time, b"")
        assert self.world.claim(inc, "worker", [item], era="another").items == []

    @precondition(lambda self: self.incs)
    @rule(who=PICK)
    def leave_in_another_era(self, who: int) -> None:
        """The same."""
        inc = self.incs[who % len(self.incs)]
        self.world.release(inc, [(run.record.id, run.token) for run in self.runs], leave=True, era="another")

    def _claim(self, inc: str, batch: list[Run], *, reasserts: bool = False) -> None:
        lost = [run for run, answer in zip(batch, self._ask(inc, batch, reasserts), strict=False) if answer == "LOST"]
        if not lost:
            return
        rows = [
            (r.record.id, r.record.gen, "add", r.record.queue, r.record.time, "", r.record.envelope, "", "1")
            for r in lost
        ]
        self.world.rebuild(rows)
        for run in lost:
            self.model.rebuild(self.now, run.record.id, run.record.queue, run.record.gen, run.record.envelope)
        assert "LOST" not in self._ask(inc, batch, reasserts)

    def _ask(self, inc: str, batch: list[Run], reasserts: bool) -> list[str]:
        items = []
        for run in batch:
            big = reasserts or len(run.record.envelope) > INLINE_LIMIT
            envelope = run.record.envelope.encode() if big else b""
            items.append(ClaimItem(run.record.id, run.record.gen, run.token, run.record.time, envelope))
        answers = [
            item.decode()
            for item in self.world.claim(inc, "worker", items, era=self.world.era, reasserts=reasserts).items
        ]
        without_fence = [":".join(part for n, part in enumerate(answer.split(":")) if n != 2) for answer in answers]
        assert without_fence == self.model.claim(self.now, inc, items, reasserts)
        for run, answer in zip(batch, answers, strict=False):
            if answer.startswith("RUN"):
                self._note_run(run, int(answer.split(":")[2]))
        return answers

    def _note_run(self, run: Run, fence: int) -> None:
        """A new run's fence is higher than any before, even one that Redis has forgotten; a repeated answer's is its own."""
        if fence != self.fence_of.get(run.token):
            assert fence > self.fences.get(run.record.id, 0)
            self.fences[run.record.id] = self.fence_of[run.token] = fence
        if run not in self.runs:
            self.runs.append(run)

    @precondition(lambda self: self.runs)
    @rule(
        picks=st.lists(PICK, min_size=1, max_size=3),
        kind=st.sampled_from(["success", "success", "retry", "failed", "handback", "cancelled", "lost"]),
        whole=st.booleans(),
        delay=st.sampled_from([0, 500, 20_000]),
        newest=st.booleans(),
        twice=st.booleans(),
        tells=st.booleans(),
    )
    def finish(
        self, picks: list[int], kind: str, whole: bool, delay: int, newest: bool, twice: bool, tells: bool
    ) -> None:
        """Outcomes of any runs, also of those that others have overtaken; ``twice``: the reply was lost."""
        among = self.runs[-4:] if newest else self.runs
        chosen = [among[pick % len(among)] for pick in picks]
        inc = chosen[0].inc
        batch = [run for run in chosen if run.inc == inc]
        for _ in range(1 + twice):
            self._finish(inc, batch, kind, whole=whole, delay=delay, tells=tells)

    @precondition(lambda self: self.runs)
    @rule(picks=st.lists(PICK, min_size=1, max_size=3), newest=st.booleans())
    def report(self, picks: list[int], newest: bool) -> None:
        """What any runs tell, also those that others have overtaken or that have ended."""
        among = self.runs[-4:] if newest else self.runs
        chosen = [among[pick % len(among)] for pick in picks]
        told = [(run.record.id, run.token, f"told {next(self.numbers)}") for run in chosen]
        answers = [item.decode() for item in self.world.report([(*one[:2], one[2].encode()) for one in told]).items]
        assert answers == [self.model.report(*one) for one in told]

    def _finish(self, inc: str, batch: list[Run], kind: str, *, whole: bool, delay: int, tells: bool = False) -> None:
        entry = "" if kind == "success" else '{"attempt":1}'
        long = {"success": "x" * 100, "failed": "0123456789ab"}.get(kind, "") if whole else ""
        reason = "error" if kind == "failed" else ""
        rows = [(run.record.id, run.token, kind, "1", long, reason, delay, entry) for run in batch]
        told = {run.token: f"last words of {run.token}" for run in batch if tells}
        reports = {token: words.encode() for token, words in told.items()}
        answers = [item.decode() for item in self.world.finish(inc, rows, reports=reports).items]
        assert answers == [
            self.model.finish(
                self.now, run.record.id, run.token, kind, long, bool(entry), delay, told.get(run.token, "")
            )
            for run in batch
        ]

    @rule(who=PICK, forgets=st.booleans(), abroad=st.booleans())
    def beat(self, who: int, forgets: bool, abroad: bool) -> None:
        """A beat of any incarnation, also a dead one or one that left, with all that it holds or nothing, in this era or another."""
        incs = sorted({run.inc for run in self.runs} | set(self.model.online) | self.model.dead)
        if incs:
            self._beat(incs[who % len(incs)], holds=not forgets, era="another" if abroad else self.world.era)

    @rule()
    def new_worker(self) -> None:
        self._beat(f"w{next(self.numbers)}")

    def _beat(self, inc: str, *, holds: bool = True, heard: int = 0, era: str = "") -> dict[str, int]:
        """The commands that the answer brings, with their numbers."""
        held = [run.token for run in self.runs if run.inc == inc and holds]
        answer, *others = self.world.beat(inc, "{}", "{}", held, era, heard=heard).items
        self.model.obeyed(inc, heard)
        expected = self.model.beat(self.now, inc, held, at_home=era == self.world.era)
        if expected is None:
            assert (answer, others) == (b"FENCED", [])
            return {}
        commands = {others[0][i].decode(): int(others[0][i + 1]) for i in range(0, len(others[0]), 2)}
        assert (answer, commands, {item.decode() for item in others[1:]}) == (b"OK", *expected)
        assert list(commands) == list(expected[0]), "they come in the order in which they were asked"
        return commands

    @precondition(lambda self: self.model.workers)
    @rule(who=PICK, command=st.sampled_from(["pause", "resume", "shutdown", "detach:t1"]))
    def control(self, who: int, command: str) -> None:
        """A person asks something of any worker, also of one that is gone."""
        incs = sorted({*self.model.workers, *self.model.dead, "w0"})
        inc = incs[who % len(incs)]
        answer = self.world.control(inc, command)
        number = int(self.world.plain.zscore(self.world.key("control:", inc), command) or 0)
        assert answer == self.model.control(self.now, inc, command, number)

    @precondition(lambda self: any(self.model.asked.values()))
    @rule(who=PICK, share=st.integers(0, 4))
    def obey(self, who: int, share: int) -> None:
        """A worker obeys some of what it was asked, and says so with its next beat."""
        incs = sorted(inc for inc, waiting in self.model.asked.items() if waiting)
        inc = incs[who % len(incs)]
        numbers = list(self._beat(inc).values())
        if numbers[:share]:
            self._beat(inc, heard=numbers[:share][-1])

    @precondition(lambda self: self.incs)
    @rule(who=PICK, pick=PICK, leaves=st.booleans())
    def release(self, who: int, pick: int, leaves: bool) -> None:
        """A stopping worker hands one run back, then perhaps leaves with whatever it still holds."""
        inc = self.incs[who % len(self.incs)]
        own = [run for run in self.runs if run.inc == inc]
        held = [(run.record.id, run.token) for run in own[pick % len(own) :][:1]] if own else []
        self.world.release(inc, held, leave=leaves)
        self.model.release(self.now, inc, held, leaves)

    # -- the keeper ------------------------------------------------------------------------------------------

    @precondition(lambda self: self.incs)
    @rule(who=PICK)
    def reap(self, who: int) -> None:
        """Anybody's reap, whether or not it has been there all the time."""
        inc = self.incs[who % len(self.incs)]
        silent = set(self.world.reap(inc))
        assert silent == self.model.reap(self.now, inc)

    @precondition(lambda self: self.incs)
    @rule(who=PICK)
    def outlive(self, who: int) -> None:
        """One worker beats on while the others are silent."""
        self._outlive(self.incs[who % len(self.incs)])

    @precondition(lambda self: self.records)
    @rule(pick=PICK, deaths=st.integers(1, 3), other=PICK, last=st.booleans())
    def kill_workers(self, pick: int, deaths: int, other: int, last: bool) -> None:
        """A task whose workers die one after the other, then claimed beside others by the one that lives on."""
        survivor = f"w{next(self.numbers)}"
        task_id = self.records[pick % len(self.records)].id
        self._beat(survivor)
        for _ in range(deaths):
            victim = f"w{next(self.numbers)}"
            self._beat(victim)
            self._claim(victim, [Run(victim, f"{victim}:{next(self.numbers)}", self._latest(task_id))])
            self._outlive(survivor)
            self.all_is_well()
            self.sweep(1000)
            self.all_is_well()
        self.enqueue(1, "default", None, None, big=False, short=True, key=None, sent=True)
        chosen = [self._latest(self.records[other % len(self.records)].id), self.records[-1]]
        chosen.insert(2 if last else 0, self._latest(task_id))
        self._claim(survivor, [Run(survivor, f"{survivor}:{next(self.numbers)}", record) for record in chosen])

    def _outlive(self, survivor: str) -> None:
        for _ in range(5):
            self._pass(8_100)
            self._beat(survivor)
        assert self.model.may_reap(self.now, survivor)
        silent = set(self.world.reap(survivor))
        assert silent == self.model.reap(self.now, survivor)

    @rule(limit=st.sampled_from([1, 1000]))
    def due(self, limit: int) -> None:
        moved = self.world.due(limit)
        assert moved == self.model.due(self.now, limit)

    @precondition(lambda self: self.model.due_at)
    @rule()
    def wait_until_due(self) -> None:
        self._pass(3_300)
        self.due(1000)

    @rule(limit=st.sampled_from([2, 1000]))
    def sweep(self, limit: int) -> None:
        items = [item.decode() for item in self.world.sweep(limit).items]
        rows = [items[i : i + 5] for i in range(0, len(items), 5)]
        assert [(row[0], int(row[1])) for row in rows] == self.model.sweep(self.now, limit)
        for task_id, gen, queue, handbacks, envelope in rows:
            row = self.model.rows[task_id]
            assert (queue, int(handbacks), envelope) == (row.queue, row.handbacks, row.envelope)
            self._publish(task_id, int(gen), queue, envelope)

    @precondition(lambda self: self.model.rows)
    @rule(pick=PICK, older=st.sampled_from([0, 0, 0, 1]))
    def requeue(self, pick: int, older: int) -> None:
        task_id = self._any_task(pick)
        asked = [(task_id, self.model.rows[task_id].gen - older), ("unknown", 1)]
        again = self.world.requeue(asked)
        assert again == self.model.requeue(self.now, asked)

    @precondition(lambda self: self.model.rows)
    @rule(
        pick=PICK, whose=st.sampled_from(["own", "own", "other", "other queue", "unknown"]), by_envelope=st.booleans()
    )
    def reject(self, pick: int, whose: str, by_envelope: bool) -> None:
        """A record or an envelope that cannot be trusted, of the task itself or with its id alone."""
        task_id = self._any_task(pick)
        row = self.model.rows[task_id]
        partition, offset = row.place or (0, 10**6)
        place = (partition, offset + (whose == "other"))
        envelope = "forged" if whose == "other" else row.envelope or "gone"
        queue = "elsewhere" if whose == "other queue" else row.queue
        named = "unknown" if whose == "unknown" else task_id
        if by_envelope:
            answer = self.world.reject_envelope(named, queue, envelope.encode(), "why")
        else:
            answer = self.world.reject_record(named, queue, *place, "why").items[0].decode()
        assert answer == self.model.reject(self.now, named, queue, place, envelope if by_envelope else None)

    @rule(limit=st.sampled_from([1, 2, 100]), later=st.booleans())
    def audit(self, limit: int, later: bool) -> None:
        """What is left of the last round, then a whole one page by page, then the beginning of another."""
        if later:
            self._pass(310_000)
        rest = self._audit(100)
        queued, expected = self.model.long_queued(self.now)
        pages = [self._audit(limit) for _ in range(len(queued) // limit + 1)]
        found = [task for page in pages for task in page]
        assert set(rest) <= expected
        assert (set(found), len(found)) == (expected, len(expected))
        assert set(self._audit(limit)) <= expected

    def _audit(self, limit: int) -> list[tuple[str, int, str, tuple[int, int] | None]]:
        found = self.world.audit(limit)
        return [(i, gen, queue, None if part is None else (part, offset or 0)) for i, gen, queue, part, offset in found]

    @precondition(lambda self: self.model.rows)
    @rule(picks=st.lists(PICK, min_size=1, max_size=3))
    def note(self, picks: list[int]) -> None:
        """What bulk jobs write into the histories of tasks in any state."""
        ids = [self._any_task(pick) for pick in picks] + ["unknown"]
        self.world.note((task_id, "{}") for task_id in ids)
        self.model.note(ids)

    @rule(number=st.integers(1, 3))
    def count(self, number: int) -> None:
        self.world.count("rejected", number)
        self.model.rates["rejected"] += number

    # -- time and faults -------------------------------------------------------------------------------------

    @rule(span=SPANS)
    def time_passes(self, span: int) -> None:
        self._pass(span)

    @rule(span=LONG_SPANS, sure=st.integers(0, 3))
    def hours_pass(self, span: int, sure: int) -> None:
        if not sure:
            self._pass(span)
            self.batches.clear()  # no client repeats a submit after hours
            self._read_late()

    def _read_late(self) -> None:
        """A worker comes and reads the newest records."""
        inc = f"w{next(self.numbers)}"
        self._beat(inc)
        self._claim(inc, [Run(inc, f"{inc}:{next(self.numbers)}", record) for record in self.records[-5:]])

    def _pass(self, span: int) -> None:
        self.world.pass_time(span)
        self.model.pass_time(self.world.time_ms(), span)
        self.records = [replace(record, time=record.time - span) for record in self.records]
        self.runs = [replace(run, record=replace(run.record, time=run.record.time - span)) for run in self.runs]
        self.before = Picture()  # only moves are judged by what was before

    @rule()
    def remember(self) -> None:
        """What Redis has on disk."""
        self.copies.append((self.world.keep_copy(), copy.deepcopy(self.model)))

    @precondition(lambda self: self.copies)
    @rule(pick=PICK)
    def redis_goes_back(self, pick: int) -> None:
        kept, model = self.copies[pick % len(self.copies)]
        since = self.world.go_back(kept)
        self.model = copy.deepcopy(model)
        self.model.pass_time(self.world.time_ms(), since)
        self._redis_answers()
        self.before = Picture()

    @rule()
    def redis_restarts(self) -> None:
        self.world.restart()
        self._redis_answers()

    def _redis_answers(self) -> None:
        """For the first time after a restart, to whatever it is asked."""
        self.world.release("w1", [], leave=False)
        self.model.another_server(self.now)

    @precondition(lambda self: self.records and self.incs)
    @rule(who=PICK, pick=PICK, kind=st.sampled_from(["retry", "handback"]))
    def last_publication_is_forgotten(self, who: int, pick: int, kind: str) -> None:
        """A task is published again, and Redis loses the second in which it was."""
        self.remember()
        self.work(who, pick, kind)
        self._pass(2_300)
        self.due(1000)
        self.all_is_well()
        self.sweep(1000)
        self.redis_goes_back(len(self.copies) - 1)

    @rule(late=st.integers(0, 3))
    def last_submit_is_forgotten(self, late: int) -> None:
        self.remember()
        self.enqueue(1, "default", None, None, big=True, short=False, key=None, sent=True)
        self.redis_goes_back(len(self.copies) - 1)
        if not late:
            self.hours_pass(12_300_000, 0)

    @rule(sure=st.integers(0, 9))
    def redis_is_emptied(self, sure: int) -> None:
        if sure:
            return
        self.world.wipe()
        self.copies.clear()
        self.before = Picture()
        self.model = Model()
        self.first_worker()

    # -- what always holds -----------------------------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        picture = self.world.picture()
        check_against_model(picture, self.model, self.world.time_ms())
        check_indexes(picture)
        check_bounds(picture)
        check_progress(self.before, picture, self.retried)
        self.before, self.retried = picture, set()


@pytest.mark.timeout(SHRINKING)
def test_every_move_does_what_the_model_says(redis_server: EmbeddedRedis) -> None:
    run_state_machine_as_test(lambda: Moves(redis_server.url), settings=machine_settings(200, 50))
