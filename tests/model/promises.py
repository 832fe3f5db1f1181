"""What a fleet owes, looked at after every round trip: nothing lost, one outcome, rising fences, honest indexes."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence

from tests.model.checks import check_bounds, check_indexes, check_progress
from tests.model.log import Log
from tests.model.outcomes import Outcomes
from tests.model.reference import GAP_MARGIN
from tests.model.world import Picture
from yadtq.core.yadtq_result_db import ClaimItem
from yadtq.core.yadtq_task import TERMINAL, TaskStatus

LONG = 290_000  # ms; soon the record of such a run may be let go


class Promises:
    """Remembers what was accepted, run and ended, and what the documents allow to be lost."""

    def __init__(self, log: Log, living: Callable[[], Collection[str]]) -> None:
        self._log = log
        self._outcomes = Outcomes(living)
        self.accepted: set[str] = set()
        self.excused: set[str] = set()  # only Redis held them when it went back or was emptied
        self.eaten: set[str] = set()  # retention took a record of theirs unread
        self.retried: set[str] = set()  # by a person, in this step
        self._seen: set[str] = set()  # every task that ever had a row
        self._ended: set[str] = set()  # tasks that had ended when they were last seen
        self._ended_on_disk: set[str] = set()
        self._unbound: set[str] = (
            set()
        )  # tasks that may run without their record: for long, or told again to another Redis
        self._over: set[str] = set()  # tasks that had ended, and whose rows have had their time
        self._gaps: list[tuple[float, float]] = []  # when submits may have been lost: since and until, ms
        self._open_gaps: list[float] = []  # the same, until Redis answers: the newest submit that it still knows
        self._fences: dict[str, int] = {}
        self._fence_of: dict[str, int] = {}  # by token
        self._ids: dict[str, str] = {}  # by token
        self._started: set[str] = set()
        self._before = Picture()
        self._rows: dict[str, dict[str, str]] = {}  # as they were last seen
        self.disk = Picture()
        self.clock_went_back = False

    # -- what happens ----------------------------------------------------------------------------------------

    def note_claims(self, items: Sequence[ClaimItem], answers: Sequence[bytes]) -> None:
        """A token stands for one run of one task, and each run's fence is higher than any before."""
        for item, answer in zip(items, answers, strict=False):
            assert self._ids.setdefault(item.token, item.id) == item.id, "a token was used again"
            if not answer.startswith(b"RUN"):
                continue
            fence = int(answer.split(b":")[2])
            if self._fence_of.get(item.token) == fence:
                continue  # the answer to a repeated question
            self._fence_of[item.token] = fence
            self._outcomes.was_claimed(item.id, item.token.rpartition(":")[0])
            assert self.clock_went_back or fence > self._fences.get(item.id, 0), f"the fence of {item.id} did not rise"
            self._fences[item.id] = fence

    def note_start(self, token: str) -> None:
        assert token not in self._started, "one claim was run twice"
        self._started.add(token)

    def time_passes(self) -> None:
        self._before = Picture()

    def on_disk(self, picture: Picture) -> None:
        self.disk, self._ended_on_disk = picture, self._ended.copy()

    def redis_went_back(self, picture: Picture) -> None:
        """A submit of the last second that Kafka has not seen is allowed to be lost."""
        self._unbound |= self._ended
        self._before, self._ended = Picture(), self._ended_on_disk.copy()
        self._excuse(self._seen - set(picture.rows))
        self._rows = picture.rows
        self._outcomes.redis_went_back(picture.rows)

    def redis_was_emptied(self) -> None:
        """Allowed to be lost is what Kafka does not hold unread: what waited in Redis, or ran beside its committed record."""
        self._before = Picture()
        self._outcomes.redis_was_emptied()
        self._unbound |= self._ended
        self._excuse(self._seen)

    def gap_begins(self, newest: float) -> None:
        """A Redis has come that knows of no submit after this one."""
        self._open_gaps.append(newest)

    def redis_answered(self, now: int) -> None:
        for newest in self._open_gaps:
            self._gaps.append((min(newest, now) - GAP_MARGIN, max(newest, now) + GAP_MARGIN))
        self._open_gaps.clear()

    def _may_be_lost(self, task_id: str) -> bool:
        """Whether Redis cannot know that the task ended, once its row has had its time."""
        times = self._log.times_of(task_id)
        return any(start <= at <= end for at in times for start, end in self._gaps)

    def _excuse(self, gone: set[str]) -> None:
        """What a task has become since its last record was read is only in Redis."""
        for task_id in gone - self._ended:
            gen = int(self._rows.get(task_id, {}).get("gen", 1))
            if not self._log.unread(task_id, gen):
                self.excused.add(task_id)
                self._unbound.add(task_id)

    def retention_took(self, ids: set[str], rows: Iterable[str]) -> None:
        """The audit brings back what Redis still knows."""
        self.eaten |= ids
        self.excused |= ids - set(rows)

    # -- what holds ------------------------------------------------------------------------------------------

    def check(self, picture: Picture, now: int) -> None:
        check_indexes(picture)
        check_bounds(picture)
        check_progress(self._before, picture, self.retried)
        self._before = picture
        self._seen |= set(picture.rows)
        self._rows = picture.rows
        self._check_over(set(picture.rows))
        for task_id, row in picture.rows.items():
            if TaskStatus(row["status"]) in TERMINAL:
                self._ended.add(task_id)
                self._check_result(task_id, row)
            else:
                self._ended.discard(task_id)
        self._outcomes.check(picture.rows, picture.zsets.get("dead", {}), self.retried)
        self._check_running(picture, now)
        self._check_needed(picture, self._ended, "Redis")
        self._check_needed(self.disk, self._ended_on_disk, "the disk of Redis")

    def _check_over(self, rows: set[str]) -> None:
        """What ended long ago does not come back, but where Redis may have lost it."""
        for task_id in self._over & rows:
            assert self.clock_went_back or self._may_be_lost(task_id), f"{task_id} had ended, and is here again"
            self._outcomes.rows_time_is_over(task_id)
        self._over = (self._over | self._ended) - rows

    def _check_result(self, task_id: str, row: dict[str, str]) -> None:
        if row["status"] == "success":
            assert json.loads(row["result"]) == row["token"], f"the outcome of {task_id} is that of an overtaken run"

    def _check_running(self, picture: Picture, now: int) -> None:
        """A task that has not run for long could be made again from its record, should Redis come back empty."""
        for task_id, row in picture.rows.items():
            if row["status"] != "processing" or task_id in self._unbound | self.eaten or self.clock_went_back:
                continue
            if now - int(row["started"]) > LONG:
                self._unbound.add(task_id)
            else:
                assert self._log.unread(task_id, int(row["gen"])), (
                    f"the record of {task_id} was committed while it runs"
                )

    def _check_needed(self, picture: Picture, ended: set[str], where: str) -> None:
        """No commit has passed a record that is still needed, by what is in Redis and by what would come back after a crash."""
        outbox = picture.zsets.get("outbox", {})
        for task_id, row in picture.rows.items():
            if row["status"] == "queued" and task_id not in outbox and task_id not in self.eaten:
                gen = int(row["gen"])
                assert self._log.unread(task_id, gen), f"nothing brings {task_id} to a worker: {where} has it queued"
        unknown = self._log.passed_by() - set(picture.rows) - ended - self.excused - self.eaten
        forgotten = {task_id for task_id in unknown if not self._log.unread(task_id)}
        assert not forgotten, f"records were committed of tasks that {where} does not know: {forgotten}"

    def open(self, picture: Picture) -> dict[str, str]:
        """The accepted tasks that have not ended, and how they stand."""
        found = {task_id: picture.rows.get(task_id, {}).get("status", "missing") for task_id in self.accepted}
        ended = {status.value for status in TERMINAL}
        return {
            task_id: status
            for task_id, status in found.items()
            if status not in ended and not (status == "missing" and (task_id in self.excused or task_id in self._ended))
        }
