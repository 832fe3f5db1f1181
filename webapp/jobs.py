"""Bulk jobs as people start and stop them, on a page or through the API; each leaves a line in the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import g

from webapp.audit import record
from webapp.engine import engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yadtq.api.yadtq_bulk import BulkJob


def begin_job(text: str, action: str, form_key: str, ids: Sequence[str] | None = None) -> BulkJob:
    """A job on all that match, or on these ids, which goes on by itself; the same form gives the same job. Raises InvalidQuery."""
    job = engine().jobs().start(text, action, by=g.user, form_key=form_key, ids=ids)
    if not job.repeated:
        record(f"bulk {action}", _target(job), f"job {job.id}, {job.total} to look at")
    engine().bulk.wake()
    return job


def end_job(job_id: str) -> BulkJob:
    """End it before its next step; what is done stays done. Raises TaskNotFound."""
    jobs = engine().jobs()
    job = jobs.get(job_id)
    if not job.finished:
        jobs.stop(job_id)
        job = jobs.step(job_id)
        record("bulk stop", _target(job), f"job {job.id}, after {job.done}")
    return job


def _target(job: BulkJob) -> str:
    return job.query or ("ticked tasks" if job.ids else "all tasks")
