"""Bulk jobs under double clicks, deaths and stops: each form acts on each task at most once, and leaves none out.

Tasks fail again while jobs run; a job takes what had failed when it was started, and nothing later.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.integration.stored import submit
from tests.model.profiles import SHRINKING, machine_settings
from tests.model.world import World
from yadtq import create_yadtq
from yadtq.api import yadtq_bulk
from yadtq.api.yadtq_bulk import BulkJobs, unfinished
from yadtq.api.yadtq_steering import TaskSteering
from yadtq.core.yadtq_result_db import ClaimItem
from yadtq.embedded import EmbeddedRedis

PICK = st.integers(0, 1000)


class Died(Exception):
    """The process ended here."""


@dataclass
class Form:
    """One form, however often it is sent."""

    key: str
    action: str
    ids: list[str] | None
    job: str = ""
    wanted: dict[str, int] = field(default_factory=dict)  # what it is to act on -> its gen then
    acted: set[str] = field(default_factory=set)
    stopped: bool = False


class Bulk(RuleBasedStateMachine):
    """Two people's forms, two processes that step, tasks that go on failing."""

    def __init__(self, redis_url: str) -> None:
        super().__init__()
        self.world = World(redis_url, f"bm{uuid.uuid4().hex[:8]}:")
        self.world.beat("w", "", "{}", [])
        self.broker, _ = create_yadtq(kafka_servers=["localhost:1"])
        self.jobs = BulkJobs(TaskSteering(self.broker, self.world), self.world)
        self.forms: list[Form] = []
        self.tokens = itertools.count(1)
        self.ids: list[str] = []

    # -- the world goes on

    @rule(count=st.integers(1, 5))
    def fail_some(self, count: int) -> None:
        new = [f"t{len(self.ids) + n:03}" for n in range(count)]
        submit(self.world, *new)
        self.ids += new
        self._fail(new)

    @rule(which=PICK)
    @precondition(lambda self: self.ids)
    def fail_again(self, which: int) -> None:
        queued = [task_id for task_id, row in self._rows().items() if row["status"] == "queued"]
        if queued:
            self._fail([queued[which % len(queued)]])

    def _fail(self, ids: list[str]) -> None:
        rows = self._rows()
        runs = [(task_id, f"w:{next(self.tokens)}", int(rows[task_id]["gen"])) for task_id in ids]
        now = self.world.time_ms()
        self.world.claim("w", "box", [ClaimItem(task_id, gen, token, now, b"") for task_id, token, gen in runs])
        self.world.finish("w", [(task_id, token, "failed", "E: no", "", "error", 0, "") for task_id, token, _ in runs])

    # -- people

    @rule(action=st.sampled_from(["retry", "delete"]), ticked=st.booleans())
    def open_form(self, action: str, ticked: bool) -> None:
        failed = [task_id for task_id, row in self._rows().items() if row["status"] == "failed"]
        self.forms.append(Form(f"form-{len(self.forms)}", action, failed[:3] if ticked else None))

    @rule(which=PICK, clicks=st.integers(1, 2))
    @precondition(lambda self: self.forms)
    def send(self, which: int, clicks: int) -> None:
        form = self.forms[which % len(self.forms)]
        for _ in range(clicks):
            now = {task_id: int(row["gen"]) for task_id, row in self._rows().items() if row["status"] == "failed"}
            query = "" if form.ids is not None else "status:failed"
            job = self.jobs.start(query, form.action, by="ann", form_key=form.key, ids=form.ids)
            assert job.repeated == bool(form.job)
            if not form.job:
                form.job = job.id
                form.wanted = now if form.ids is None else {one: now[one] for one in form.ids if one in now}
            assert job.id == form.job

    @rule(which=PICK)
    @precondition(lambda self: any(form.job for form in self.forms))
    def stop(self, which: int) -> None:
        form = self._sent(which)
        form.stopped = form.stopped or not self.jobs.get(form.job).finished
        self.jobs.stop(form.job)

    # -- processes

    @rule(which=PICK, death=st.sampled_from(["", "", "before", "after"]))
    @precondition(lambda self: any(form.job for form in self.forms))
    def step(self, which: int, death: str) -> None:
        form = self._sent(which)
        before = self._rows()
        with patch.object(yadtq_bulk, "BATCH", 2):
            if not death:
                self.jobs.step(form.job)
            else:
                place = "_write" if death == "after" else "_advance"
                with patch.object(self.jobs, place, side_effect=Died), contextlib.suppress(Died):
                    self.jobs.step(form.job)
        self._attribute(form, before)

    def _attribute(self, form: Form, before: dict[str, dict[str, str]]) -> None:
        """What this step changed belongs to this form: each task once, and only what it was to act on."""
        after = self._rows()
        for task_id, row in before.items():
            if task_id in after and after[task_id]["gen"] == row["gen"]:
                continue
            assert task_id not in form.acted, f"{task_id} twice by {form}"
            if form.action == "retry" or form.ids is None:
                assert form.wanted.get(task_id) == int(row["gen"]), f"{task_id} had not failed when {form} was sent"
            form.acted.add(task_id)

    def teardown(self) -> None:
        try:
            self._end_all()
        finally:
            self.world.wipe()
            self.world.close()
            self.world.plain.close()
            self.broker.close()

    def _end_all(self) -> None:
        for form in [form for form in self.forms if form.job]:
            while not self.jobs.get(form.job).finished:
                before = self._rows()
                self.jobs.step(form.job)
                self._attribute(form, before)
        assert unfinished(self.world) == []
        rows = self._rows()
        for form in [form for form in self.forms if form.job and not form.stopped]:
            left = [one for one, gen in form.wanted.items() if one in rows and self._untouched(rows[one], gen)]
            assert left == [], f"left out by {form}"

    # -- inside

    def _untouched(self, row: dict[str, str], gen: int) -> bool:
        return row["status"] == "failed" and int(row["gen"]) == gen

    def _rows(self) -> dict[str, dict[str, str]]:
        return {task_id: row for task_id, row in self.world.picture().rows.items() if "deleted" not in row}

    def _sent(self, which: int) -> Form:
        sent = [form for form in self.forms if form.job]
        return sent[which % len(sent)]


@pytest.mark.timeout(SHRINKING)
def test_each_form_acts_once_on_all_it_was_sent_for(redis_server: EmbeddedRedis) -> None:
    run_state_machine_as_test(lambda: Bulk(redis_server.url), settings=machine_settings(150, 30))
