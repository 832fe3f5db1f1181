"""Bulk jobs: one action on all tasks that match a search, or on chosen ones, in steps of 200 that anybody may drive.

A job lives in Redis for a day. It takes what matched when it was started: what enters the list later is left alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from yadtq.api.yadtq_steering import BATCH, BulkOutcome, TaskSteering
from yadtq.core.yadtq_query import Query, parse_query
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_views import Views
from yadtq.errors import ConfigError, TaskNotFound

ACTIONS = ("retry", "cancel", "delete")
LIFE = 86_400  # seconds
MOST_IDS = 1_000  # chosen for one job
MOST_NOTED = 2_000  # tasks that a retry has queued, to tell what becomes of them
# A job is among the unfinished ones from its start on, and a form that is sent again does not bring a stopped one back.
_START = """
if not redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2], 'NX') then return 0 end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
return 1
"""
_LATE = "it has run again since this was asked for"
STEP_LIMIT = 30  # seconds after which a step that never ended is given up


@dataclass(frozen=True)
class BulkJob:
    """How far a bulk job has come; times in seconds since the epoch."""

    id: str
    query: str  # as typed
    action: str  # retry, cancel or delete
    by: str
    started_at: float
    total: int  # rows to look at, as counted at the start
    after: float | None  # the moments between which rows are looked at
    before: float
    scanned: int = 0
    done: int = 0
    failed: int = 0
    refusal: str = ""  # why the last one was refused
    cursor: str | None = None
    finished_at: float | None = None
    stopped: bool = False  # by a person, before its end
    ids: list[str] | None = None  # the chosen ones, instead of a search
    about: str = ""  # a group's name and error: it may be gone when the job is done
    repeated: bool = field(default=False, compare=False)  # told by `start`: the same form had started it before

    @property
    def finished(self) -> bool:
        return self.finished_at is not None


def unfinished(store: ResultStore) -> list[str]:
    """The ids of the jobs that wait for their next step, oldest first. Raises ResultStoreUnavailable."""
    return [raw.decode() for raw in store.guard(lambda: store.client.zrange(store.key("jobs"), 0, -1))]


class BulkJobs:
    """Jobs of one store; each call raises ResultStoreUnavailable."""

    def __init__(self, client: TaskSteering, store: ResultStore) -> None:
        self._store = store
        self._views = Views(store)
        self._moves: dict[str, Callable[..., BulkOutcome]] = {
            "retry": client.retry_many,
            "cancel": client.cancel_many,
            "delete": client.delete_many,
        }

    def start(self, query: str, action: str, *, by: str, form_key: str, ids: Sequence[str] | None = None) -> BulkJob:
        """A job on all that match, or on these ids; the same person's same form gives the same job.

        Nothing is done before the first step.

        Raises:
            InvalidQuery: the search cannot be understood.
            ConfigError: there is no such action, or there are more than 1,000 ids.
        """
        if action not in ACTIONS:
            raise ConfigError(f"there is no bulk action {action[:40]!r}; there are {', '.join(ACTIONS)}")
        if ids is not None and len(ids) > MOST_IDS:
            raise ConfigError(f"a bulk job takes {MOST_IDS:,} chosen tasks at most; choose more by a search")
        seconds, micros = self._store.guard(self._store.client.time)
        now = seconds + micros / 1e6  # to the microsecond, as the lists are ordered
        wanted = parse_query(query, now)
        before = now if wanted.before is None else min(now, wanted.before)
        group = self._views.failure_group(wanted.group) if wanted.group else None
        about = f"{group.name}: {group.error or group.reason}" if group else ""
        total = self._views.count(replace(wanted, before=before)).total if ids is None else len(ids)
        form = json.dumps([by, action, form_key, query, ids])
        job_id = hashlib.sha256(form.encode()).hexdigest()[:24]
        chosen = None if ids is None else [*ids]
        job = BulkJob(job_id, query, action, by, now, total, wanted.after, before, ids=chosen, about=about)
        keys = (self._store.key("job:", job_id), self._store.key("jobs"))
        values = (json.dumps(asdict(job)), LIFE, job_id, repr(now))
        created = self._store.guard(lambda: self._store.client.eval(_START, 2, *keys, *values))
        return replace(self.get(job_id), repeated=not created)

    def stop(self, job_id: str) -> None:
        """Have the job end before its next step."""
        self._store.guard(lambda: self._store.client.zrem(self._store.key("jobs"), job_id))

    def get(self, job_id: str) -> BulkJob:
        """The job as it is; raises TaskNotFound."""
        raw = self._store.guard(lambda: self._store.client.get(self._store.key("job:", job_id)))
        if raw is None:
            raise TaskNotFound(f"there is no bulk job {job_id[:40]!r}; jobs are kept for a day")
        return BulkJob(**json.loads(raw))

    def step(self, job_id: str) -> BulkJob:
        """Do the next 200 at most, and tell how far it is; while another caller does them, only tell. Raises TaskNotFound.

        Where a step died before it was written down its tasks have moved on, so that they are not counted as done.
        """
        lock = self._store.client.lock(self._store.key("joblock:", job_id), timeout=STEP_LIMIT, blocking=False)
        if not self._store.guard(lock.acquire):
            return self.get(job_id)
        try:
            job = self.get(job_id)
            if not job.finished:
                job = self._advance(job) if self._wanted(job_id) else self._end(job, stopped=True)
                self._write(job)
            if job.finished:
                self.stop(job_id)  # it needs no further step
            return job
        except TaskNotFound:  # its day is over
            self.stop(job_id)
            raise
        finally:
            if self._store.guard(lock.owned):
                self._store.guard(lock.release)

    def _wanted(self, job_id: str) -> bool:
        return self._store.guard(lambda: self._store.client.zscore(self._store.key("jobs"), job_id)) is not None

    def _end(self, job: BulkJob, *, stopped: bool = False) -> BulkJob:
        return replace(job, finished_at=self._store.time_ms() / 1000, stopped=stopped)

    def _advance(self, job: BulkJob) -> BulkJob:
        if job.ids is None:
            ids, cursor, scanned = self._views.matching(self._query(job), job.cursor, BATCH)
            over = cursor is None
        else:
            ids, cursor = job.ids[job.scanned : job.scanned + BATCH], None
            scanned = len(ids)
            over = job.scanned + scanned >= len(job.ids)
        late = self._later(ids, job) if job.ids is not None and job.action == "retry" else []
        outcome = self._moves[job.action]([one for one in ids if one not in late], by=job.by)
        if job.action == "retry":
            self._note(job.id, outcome.done)
        refusals = [*outcome.refused.values(), *[_LATE] * len(late)]
        job = replace(
            job,
            scanned=job.scanned + scanned,
            done=job.done + len(outcome.done),
            failed=job.failed + len(refusals),
            refusal=refusals[-1] if refusals else job.refusal,
            cursor=cursor,
        )
        return self._end(job) if over else job

    def _note(self, job_id: str, queued: Sequence[str]) -> None:
        if not queued:
            return
        key, now = self._store.key("jobtasks:", job_id), self._store.time_ms() * 1000
        pipe = self._store.client.pipeline(transaction=False)
        pipe.zadd(key, dict.fromkeys(queued, now))
        pipe.zremrangebyrank(key, 0, -MOST_NOTED - 1)
        pipe.expire(key, LIFE)
        self._store.guard(pipe.execute)

    def _later(self, ids: Sequence[str], job: BulkJob) -> list[str]:
        """Those that ended after the job was started: this step may be a repeat, and they have run again since."""
        found = self._views.tasks_by_id(ids).values()
        return [task.id for task in found if task.finished_at is not None and task.finished_at > job.started_at]

    def _query(self, job: BulkJob) -> Query:
        return replace(parse_query(job.query, job.started_at), after=job.after, before=job.before)

    def _write(self, job: BulkJob) -> None:
        key, value = self._store.key("job:", job.id), json.dumps(asdict(job))
        self._store.guard(lambda: self._store.client.set(key, value, ex=LIFE, xx=True))
