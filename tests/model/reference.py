"""What every move does, in plain Python: the rules of docs/lifecycle.md without Redis, indexes or batches.

Times are ms. Each method takes Redis' own time of the move, so that model and Redis never disagree about it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from yadtq.core.yadtq_codec import INLINE_LIMIT
from yadtq.core.yadtq_histogram import bucket_of
from yadtq.core.yadtq_result_db import ClaimItem, NewTask
from yadtq.core.yadtq_task import TERMINAL, TaskStatus

RECHECK = 20_000  # until a publication without an acknowledgement is repeated
LARGEST_GAP = 10_000  # between two beats of an unbroken series
WORKER_TTL = 3_600_000
STEADY_FOR = 15_000  # how long a series lasts before its owner may call others dead
UNHELD_AFTER = 15_000  # a run its worker knows nothing of goes back
OFFLINE_AFTER = 30_000
LONG_QUEUED = 300_000  # the audit looks at such a task
GAP_MARGIN = 60_000  # on either side of the time in which Redis may have lost submits
RESULT_TTL = 10_000_000
FAILED_TTL = 20_000_000
TOMBSTONE_TTL = 30_000_000
HAND_BACK_UNIT = 1000
MOST_HAND_BACKS = 6
CONTROL_FOR = 60_000  # a command waits so long for its worker
MOST_CONTROLS = 100
RECORD_GONE = "Kafka deleted its record unread: raise the retention"


@dataclass
class Row:
    """One task as a reader would find it."""

    queue: str
    status: str
    gen: int = 1
    attempt: int = 0
    lost: int = 0
    handbacks: int = 0
    token: str | None = None
    changed: int = 0  # when it was last queued, or began to wait, or ended
    started: int = 0
    due: int | None = None
    expires: int | None = None
    cancel: int | None = None
    retried: int | None = None
    reason: str | None = None
    fp: str | None = None  # of a failed one
    deleted: bool = False
    place: tuple[int, int] | None = None  # partition and offset
    envelope: str | None = None
    short: bool = False  # the arguments are in the row
    history: int = 0
    whole_result: bool = False
    report: tuple[str, str, str | None] | None = None  # token, what it tells, what the run before told
    gone_at: int | None = None  # the end of its time to live

    @property
    def ended(self) -> bool:
        return TaskStatus(self.status) in TERMINAL

    @property
    def inc(self) -> str:
        return (self.token or "").rpartition(":")[0]


@dataclass
class Worker:
    """One incarnation."""

    beat: int = 0
    series: int = 0
    suspect: str | None = None
    gone_at: int = 0  # what is known of a silent worker lives for an hour


@dataclass
class Model:
    """All tasks and workers."""

    rows: dict[str, Row] = field(default_factory=dict)
    outbox: dict[str, int] = field(default_factory=dict)
    due_at: dict[str, int] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    running: dict[str, set[str]] = field(default_factory=dict)
    online: dict[str, int] = field(default_factory=dict)  # the last beats of those who neither left nor died
    workers: dict[str, Worker] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    asked: dict[str, dict[str, int]] = field(
        default_factory=dict
    )  # per incarnation, commands -> µs when, in their order
    submits: dict[str, int] = field(default_factory=dict)  # when tasks came in, also those whose rows have gone
    gaps: dict[int, int] = field(default_factory=dict)  # submits from then till then may have been lost
    rates: Counter[str] = field(default_factory=Counter)  # what ended; w and r: by bucket of waiting and running time

    def another_server(self, now: int) -> None:
        """Redis answers for the first time since it was started, or its data replaced."""
        newest = max(self.submits.values(), default=0)
        start = min(now, newest) - GAP_MARGIN
        self.gaps[start] = max(self.gaps.get(start, 0), now + GAP_MARGIN, newest + GAP_MARGIN)

    def _all_told_at(self) -> int:
        """When workers will have told a Redis that came back with older tasks what they run; 0 where it came without any."""
        till, start = max((till, start) for start, till in self.gaps.items())
        return 0 if start <= -GAP_MARGIN else till - GAP_MARGIN + STEADY_FOR

    # -- clients ---------------------------------------------------------------------------------------------

    def enqueue(self, now: int, tasks: Sequence[NewTask]) -> list[str]:
        ids = []
        for task in tasks:
            earlier = self.keys.get(task.key or "", "")
            if task.key and earlier in self.rows and not self.rows[earlier].deleted:
                ids.append(earlier)
                continue
            ids.append(task.id)
            if task.id not in self.rows:
                self._accept(now, task)
        return ids

    def _accept(self, now: int, task: NewTask) -> None:
        row = Row(task.queue, "scheduled" if task.delay else "queued", envelope=task.envelope.decode(), changed=now)
        row.short = bool(task.args_json)
        if task.expires is not None:
            row.expires = now + int(task.expires * 1000)
        if task.delay:
            row.due = self.due_at[task.id] = now + int(task.delay * 1000)
        else:
            self.outbox[task.id] = now + RECHECK
            self._watch_expiry(task.id, row)
        if task.key:
            self.keys[task.key] = task.id
        self.rows[task.id] = row
        self.submits[task.id] = now

    def published(self, task_id: str, gen: int, place: tuple[int, int]) -> None:
        row = self.rows.get(task_id)
        if row is None or row.gen != gen:
            return
        row.place = place
        self.outbox.pop(task_id, None)
        if row.status == "queued" and len(row.envelope or "") > INLINE_LIMIT:
            row.envelope = None

    def cancel(self, now: int, task_id: str, asked_at: int) -> str:
        row = self.rows.get(task_id)
        if row is None or row.deleted:
            return ""
        if row.ended or (row.retried is not None and asked_at < row.retried <= now):
            return row.status
        if row.cancel is None:
            self._note(row)
        if row.status == "processing":
            row.cancel = asked_at
            return "stopping"
        self._end(now, task_id, "cancelled", TOMBSTONE_TTL)
        return "cancelled"

    def retry(self, now: int, task_id: str, asked_at: int, envelope: str = "") -> str:
        row = self.rows.get(task_id)
        if row is None or row.deleted:
            return ""
        if row.retried is not None and asked_at <= row.retried <= now:
            return "queued"
        if row.status not in ("failed", "cancelled", "expired") or asked_at < row.changed <= now:
            return row.status
        row.envelope = envelope or row.envelope
        if row.envelope is None:
            return "NOENVELOPE"
        self._start_over(now, row)
        self._note(row)
        self._queue_again(now, task_id, row.gen + 1)
        return "queued"

    def delete(self, now: int, task_id: str) -> str:
        row = self.rows.get(task_id)
        if row is None or row.deleted:
            return "" if row is None else "deleted"
        if row.status == "processing":
            if row.cancel is None:
                self._note(row)
                row.cancel = now
            return "stopping"
        if not row.ended:
            self._end(now, task_id, "cancelled", TOMBSTONE_TTL)
        row.deleted, row.gone_at = True, now + TOMBSTONE_TTL
        del self.submits[task_id]
        self.keys = {key: kept for key, kept in self.keys.items() if kept != task_id}
        row.envelope = row.reason = row.fp = row.expires = row.cancel = None
        row.history, row.whole_result, row.report = 0, False, None
        return "deleted"

    def control(self, now: int, inc: str, command: str, number: int) -> str:
        """``number`` is the one that the command was given."""
        if inc not in self.online:
            return "GONE"
        waiting = self._still_asked(now, inc)
        if len(waiting) >= MOST_CONTROLS and command not in waiting:
            return "FULL"
        assert all(number > earlier for earlier in waiting.values())
        waiting.pop(command, None)
        waiting[command] = number
        return "OK"

    def obeyed(self, inc: str, number: int) -> None:
        self.asked[inc] = {command: at for command, at in self.asked.get(inc, {}).items() if at > number}

    def _still_asked(self, now: int, inc: str) -> dict[str, int]:
        waiting = self.asked.get(inc, {})
        self.asked[inc] = {command: at for command, at in waiting.items() if at // 1000 >= now - CONTROL_FOR}
        return self.asked[inc]

    # -- workers ---------------------------------------------------------------------------------------------

    def claim(self, now: int, inc: str, items: Sequence[ClaimItem], reasserts: bool) -> list[str]:
        """The answers, without the fences of RUN: those are judged by the one who asked."""
        if inc in self.dead:
            return ["FENCED"]
        worker, held = (
            self.workers.setdefault(inc, Worker(gone_at=now + WORKER_TTL)),
            self.running.setdefault(inc, set()),
        )
        if worker.suspect not in held:
            worker.suspect = None
        answers = []
        for item in items:
            answer = self._claim(now, inc, worker, item, reasserts)
            has_it_alone = answer.startswith("RUN") and worker.suspect == item.id
            answers.append(answer + ":ALONE" * has_it_alone)
        if held:
            self.online.setdefault(inc, now)  # it may not have beaten yet, and has to be missed
        return answers

    def _claim(self, now: int, inc: str, worker: Worker, item: ClaimItem, reasserts: bool) -> str:
        row = self.rows.get(item.id)
        if row is None:
            return "LOST" if self._row_was_lost(now, item.record_time) else "DONE"
        if row.status == "failed" and row.gen < item.gen and not row.deleted and item.record_time >= row.changed:
            return self._take_up_retry(now, inc, worker, item, reasserts)
        if row.ended or row.gen > item.gen:
            return "DONE"
        if row.status == "processing":
            if row.token == item.token:
                return f"RUN:{row.attempt}"
            if not reasserts or row.gen == item.gen:
                return self._busy(now, row, item)
            self._let_go(row.inc, item.id)
            return self._take(now, inc, row, item)
        if row.expires is not None and row.expires <= now and not reasserts:
            return self._expire_claimed(now, item.id)
        if not reasserts:
            if worker.suspect:
                return "WAIT"
            if row.lost >= 2 and self.running[inc]:
                return "ALONE"
        if row.lost >= 2:
            worker.suspect = item.id
        return self._take(now, inc, row, item)

    def _expire_claimed(self, now: int, task_id: str) -> str:
        if now < self._all_told_at():
            return "BUSY"
        self._end(now, task_id, "expired", TOMBSTONE_TTL)
        return "EXPIRED"

    def _row_was_lost(self, now: int, record_time: int) -> bool:
        in_a_gap = any(start <= record_time <= end for start, end in self.gaps.items())
        return in_a_gap or now - record_time < min(RESULT_TTL, FAILED_TTL)

    def _take_up_retry(self, now: int, inc: str, worker: Worker, item: ClaimItem, reasserts: bool) -> str:
        """Redis has forgotten that a person retried it."""
        row = self.rows[item.id]
        if worker.suspect and not reasserts:
            return "WAIT"
        self._start_over(now, row)
        return self._take(now, inc, row, item)

    def _start_over(self, now: int, row: Row) -> None:
        row.attempt = row.lost = row.handbacks = 0
        row.cancel = row.expires = row.reason = row.gone_at = row.fp = None
        row.retried = row.changed = now

    def _take(self, now: int, inc: str, row: Row, item: ClaimItem) -> str:
        row.status, row.token, row.started, row.gen = "processing", item.token, now, item.gen
        row.attempt += 1
        row.due = None
        row.envelope = item.envelope.decode() or row.envelope
        self.outbox.pop(item.id, None)
        self.due_at.pop(item.id, None)
        self.running[inc].add(item.id)
        return f"RUN:{row.attempt}"

    def _busy(self, now: int, row: Row, item: ClaimItem) -> str:
        """How long the run has lasted, where it can do without this record."""
        covered = row.gen == item.gen and row.envelope is not None and row.inc in self.online
        return f"BUSY:{now - row.started}" if covered else "BUSY"

    def rebuild(self, now: int, task_id: str, queue: str, gen: int, envelope: str) -> None:
        if task_id not in self.rows:
            self.rates["rebuilt"] += 1
            self.outbox[task_id] = now + RECHECK  # the caller may die before it claims
            self.rows[task_id] = Row(queue, "queued", gen, envelope=envelope, changed=now)
            self.submits[task_id] = now

    def report(self, task_id: str, token: str, told: str) -> str:
        row = self.rows.get(task_id)
        if row is None or row.token != token or row.status != "processing":
            return "FENCED"
        self._tell(row, token, told)
        return "OK"

    def _tell(self, row: Row, token: str, told: str) -> None:
        if not told:
            return
        before = row.report[2] if row.report else None
        if row.report and row.report[0] != token:
            before = row.report[1]
        row.report = (token, told, before)

    def finish(
        self, now: int, task_id: str, token: str, kind: str, whole: str, noted: bool, delay: int, told: str = ""
    ) -> str:
        """``whole`` is a long result, or a fingerprint; ``told`` what the run told last."""
        row = self.rows.get(task_id)
        if row is None or row.token != token:
            self.rates["fenced"] += 1
            return "FENCED"
        if row.status != "processing":
            return "OK"  # the reply to the same outcome was lost
        self._let_go(row.inc, task_id)
        if kind != "handback":
            self.rates[f"w{bucket_of(row.started - row.changed)}"] += 1
            self.rates[f"r{bucket_of(now - row.started)}"] += 1
        row.history = min(50, row.history + noted)
        self._tell(row, token, told)
        if kind == "success":
            row.status, row.changed, row.gone_at, row.whole_result = "success", now, now + RESULT_TTL, bool(whole)
            self.rates["success"] += 1
            if row.short or len(row.envelope or "") > INLINE_LIMIT:
                row.envelope = None
        elif kind == "cancelled" or (row.cancel is not None and kind != "failed"):
            self._end(now, task_id, "cancelled", TOMBSTONE_TTL)
        elif kind == "retry":
            self._wait(now, task_id, delay)
        elif kind == "handback":
            row.attempt -= 1
            if row.handbacks >= MOST_HAND_BACKS:
                self._end(now, task_id, "failed", FAILED_TTL, "unknown_task", alike("unknown_task"))
            else:
                self._wait(now, task_id, HAND_BACK_UNIT * 2**row.handbacks)
                row.handbacks += 1
        elif kind == "lost":
            self._survive(now, task_id)
            row.token = token
        else:
            self._end(now, task_id, "failed", FAILED_TTL, "error", whole or alike("1"))
        return "OK"

    def beat(
        self, now: int, inc: str, held: Iterable[str], *, at_home: bool = True
    ) -> tuple[dict[str, int], set[str]] | None:
        """The commands to be obeyed, and the tasks to be stopped; None for one declared dead."""
        if inc in self.dead:
            return None
        worker = self.workers.setdefault(inc, Worker())
        if abs(now - worker.beat) > LARGEST_GAP or worker.series > now:
            worker.series = now
        worker.beat = self.online[inc] = now
        worker.gone_at = now + WORKER_TTL
        stopping, tokens = set(), set(held)
        for task_id in sorted(self.running.get(inc, ())):
            row = self.rows.get(task_id)
            if row is None or row.status != "processing" or row.inc != inc:
                self.running[inc].discard(task_id)
            elif row.token not in tokens:
                if at_home and now - row.started > UNHELD_AFTER:
                    self._give_back(now, task_id)
            elif row.cancel is not None:
                stopping.add(task_id)
        return self._still_asked(now, inc), stopping

    def release(self, now: int, inc: str, held: Iterable[tuple[str, str]], leave: bool) -> None:
        for task_id, token in held:
            row = self.rows.get(task_id)
            if row is not None and row.status == "processing" and row.token == token:
                self._give_back(now, task_id)
        if leave:
            for task_id in sorted(self.running.pop(inc, ())):
                self._give_back(now, task_id)
            self.online.pop(inc, None)
            if inc in self.workers:
                self.workers[inc].gone_at = now + WORKER_TTL

    # -- the keeper ------------------------------------------------------------------------------------------

    def may_reap(self, now: int, inc: str) -> bool:
        """Only one who was never away himself may say that others are."""
        me = self.workers.get(inc)
        return me is not None and now - me.beat <= LARGEST_GAP and now - me.series >= STEADY_FOR

    def reap(self, now: int, inc: str) -> set[str]:
        self.online = {name: min(beat, now) for name, beat in self.online.items()}  # the clock may have been set back
        if not self.may_reap(now, inc):
            return set()
        silent = {name for name, beat in self.online.items() if now - beat > OFFLINE_AFTER}
        for name in silent:
            self.dead.add(name)
            del self.online[name]
            for task_id in self.running.pop(name, ()):
                if self.rows[task_id].inc == name:
                    self.rows[task_id].history = min(50, self.rows[task_id].history + 1)
                    self._survive(now, task_id)
        return silent

    def _survive(self, now: int, task_id: str) -> None:
        row = self.rows[task_id]
        row.lost += 1
        if row.lost >= 3 and row.cancel is None:
            row.token = None
            self._end(now, task_id, "failed", FAILED_TTL, "worker_lost", alike("worker_lost"))
        else:
            self._give_back(now, task_id)

    def due(self, now: int, limit: int) -> int:
        come = _first(self.due_at, now, limit)
        for task_id in come:
            row = self.rows[task_id]
            del self.due_at[task_id]
            if row.expires is not None and row.expires <= now < self._all_told_at():
                self.due_at[task_id] = self._all_told_at()
            elif row.expires is not None and row.expires <= now:
                self._end(now, task_id, "expired", TOMBSTONE_TTL)
            elif row.status != "queued":
                self._queue_again(now, task_id, row.gen)
        return len(come)

    def sweep(self, now: int, limit: int) -> list[tuple[str, int]]:
        ahead = {task_id: at for task_id, at in self.outbox.items() if at > now + RECHECK}  # the clock was set back
        self.outbox.update(dict.fromkeys(_first(ahead, max(ahead.values(), default=0), limit), now))
        swept = _first(self.outbox, now, limit)
        for task_id in swept:
            self.outbox[task_id] = now + RECHECK
        return [(task_id, self.rows[task_id].gen) for task_id in swept]

    def reject(self, now: int, task_id: str, queue: str, place: tuple[int, int], envelope: str | None) -> str:
        """By the record's place, or by the envelope where one is given."""
        row = self.rows.get(task_id)
        if row is None or row.status != "queued" or row.queue != queue:
            return "OTHER"
        if envelope is None and row.place is None:
            return "UNPUBLISHED" if task_id in self.outbox else "OTHER"
        if (row.place != place) if envelope is None else (row.envelope != envelope):
            return "OTHER"
        self._end(now, task_id, "failed", FAILED_TTL, "rejected", alike("rejected"))
        return "REJECTED"

    def requeue(self, now: int, tasks: Iterable[tuple[str, int]]) -> list[str]:
        again = []
        for task_id, gen in tasks:
            row = self.rows.get(task_id)
            if row is None or row.status != "queued" or row.gen != gen:
                continue
            if row.envelope is None:
                self._end(now, task_id, "failed", FAILED_TTL, "error", alike(RECORD_GONE))
            else:
                row.place = None
                self.outbox[task_id] = now
                again.append(task_id)
        return again

    def long_queued(self, now: int) -> tuple[list[Row], set[tuple[str, int, str, tuple[int, int] | None]]]:
        """Those that one round of the audit walks over, and what it tells of them."""
        found = {i: row for i, row in self.rows.items() if row.status == "queued" and now - row.changed >= LONG_QUEUED}
        told = {(i, row.gen, row.queue, row.place) for i, row in found.items() if i not in self.outbox}
        return list(found.values()), told

    def note(self, ids: Iterable[str]) -> None:
        for task_id in ids:
            row = self.rows.get(task_id)
            if row is not None and not row.deleted:
                self._note(row)

    # -- shared ----------------------------------------------------------------------------------------------

    def _end(
        self, now: int, task_id: str, status: str, ttl: int, reason: str | None = None, fp: str | None = None
    ) -> None:
        row = self.rows[task_id]
        row.status, row.changed, row.due, row.gone_at, row.fp = status, now, None, now + ttl, fp
        self.rates[status] += 1
        row.reason = reason or row.reason
        self.outbox.pop(task_id, None)
        self.due_at.pop(task_id, None)

    def _wait(self, now: int, task_id: str, delay: int) -> None:
        row = self.rows[task_id]
        row.status, row.changed, row.due, row.place = "retrying", now, now + delay, None
        self.rates["retried"] += 1
        row.gen += 1
        self.due_at[task_id] = now + delay

    def _queue_again(self, now: int, task_id: str, gen: int) -> None:
        row = self.rows[task_id]
        row.status, row.gen, row.changed = "queued", gen, now
        row.place = row.token = row.due = None
        self.outbox[task_id] = now
        self._watch_expiry(task_id, row)

    def _give_back(self, now: int, task_id: str) -> None:
        row = self.rows[task_id]
        self._let_go(row.inc, task_id)
        if row.cancel is not None:
            row.token = None
            self._end(now, task_id, "cancelled", TOMBSTONE_TTL)
        else:
            row.attempt = max(0, row.attempt - 1)
            self._queue_again(now, task_id, row.gen + 1)

    def _note(self, row: Row) -> None:
        row.history = min(50, row.history + 1)

    def _let_go(self, inc: str, task_id: str) -> None:
        self.running.get(inc, set()).discard(task_id)

    def _watch_expiry(self, task_id: str, row: Row) -> None:
        if row.expires is not None:
            self.due_at[task_id] = row.expires

    # -- time ------------------------------------------------------------------------------------------------

    def pass_time(self, now: int, span: int) -> None:
        """Every moment noted moves into the past, and what has passed its time to live is gone."""
        for row in self.rows.values():
            for name in ("due", "expires", "cancel", "retried", "gone_at"):
                if (value := getattr(row, name)) is not None:
                    setattr(row, name, value - span)
            row.started -= span
            row.changed -= span
        for times in (self.outbox, self.due_at):
            times.update({task_id: at - span for task_id, at in times.items()})
        for worker in self.workers.values():
            worker.beat -= span
            worker.series -= span
            worker.gone_at -= span
        asked = {
            inc: {command: at - span * 1000 for command, at in waiting.items()} for inc, waiting in self.asked.items()
        }
        self.asked = {  # with the newest of them all are gone, and a clock set back brings none again
            inc: waiting
            for inc, waiting in asked.items()
            if max(waiting.values(), default=0) // 1000 > now - CONTROL_FOR
        }
        self.workers = {inc: worker for inc, worker in self.workers.items() if worker.gone_at > now}
        self.online = {inc: beat - span for inc, beat in self.online.items()}
        self.submits = {task_id: at - span for task_id, at in self.submits.items()}
        self.gaps = {start - span: end - span for start, end in self.gaps.items()}
        self.rows = {i: row for i, row in self.rows.items() if row.gone_at is None or row.gone_at > now}
        self.keys = {key: task_id for key, task_id in self.keys.items() if task_id in self.rows}


def alike(what: str) -> str:
    """The fingerprint of failures that the scripts themselves find alike; every task of the model is called add."""
    return hashlib.sha1(f"add\n{what}".encode()).hexdigest()[:12]


def _first(times: dict[str, int], now: int, limit: int) -> list[str]:
    come = [task_id for task_id, at in times.items() if at <= now]
    return sorted(come, key=lambda task_id: (times[task_id], task_id))[:limit]
