"""The submit page: find a function, fill in its form or JSON, see that the task is on its way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Blueprint, redirect, render_template, request, url_for

from webapp.audit import record
from webapp.engine import engine
from webapp.errors import sentence
from webapp.forms import (
    Call,
    Field,
    argument_fields,
    filled_fields,
    json_field,
    option_fields,
    queue_for,
    read_arguments,
    read_json,
    read_options,
    signature,
)
from yadtq.core.yadtq_task import TaskResult, check_name
from yadtq.core.yadtq_views import parse_query
from yadtq.errors import ConfigError, InvalidName, PayloadTooLarge, TaskNotSerializable

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from yadtq.core.yadtq_views import FunctionInfo, QueueInfo, WorkerInfo

pages = Blueprint("submit", __name__)

_SOON = 5.0  # seconds within which Kafka has a new task; before, its absence there is no news
_LATELY = 5  # tasks of the function shown beside the form


@dataclass
class Form:
    """What stands in the form: one function's, or a bare name with JSON."""

    name: str
    function: FunctionInfo | None
    as_json: bool
    arguments: list[Field]
    options: list[Field]
    problem: str = ""  # what the queue says against the task as a whole

    @property
    def wrong(self) -> list[Field]:
        """The inputs that need another look."""
        return [one for one in [*self.arguments, *self.options] if one.error]


@pages.get("/submit")
def form() -> ResponseReturnValue:
    """The functions to choose from; with ``task`` the form of one, with ``like`` filled as that task was."""
    functions = engine().views.functions()
    call = _call_like(request.args.get("like", ""))
    name = call.name if call else request.args.get("task", "").strip()
    wants_json = request.args.get("mode") == "json"
    if not name and not wants_json and functions:
        return _choose(functions, request.args.get("q", ""))
    function = _find(functions, name)
    options = option_fields({}, queue_for(function))
    filled = _filled(Form(name, function, wants_json or function is None, [], options), call)
    return _page(filled)


@pages.post("/submit")
def send() -> ResponseReturnValue:
    """Submit, then show the task; a form that cannot be submitted comes back with its errors by the field."""
    name = request.form.get("task", "").strip()
    function = _find(engine().views.functions(), name)
    call = Call(name)
    by_field = function if "json" not in request.form else None
    arguments = read_arguments(by_field, request.form, call) if by_field else [_read_json(call)]
    filled = Form(name, function, by_field is None, arguments, read_options(request.form, call))
    if switch := request.form.get("switch"):
        return _page(_switched(filled, call, switch == "json"))
    filled.problem = _name_problem(name)
    if not filled.problem and not filled.wrong:
        task_id, filled.problem = _submit(call)
        if task_id:
            record("submit", task_id, call.name)
            return redirect(url_for("submit.done", task_id=task_id), 303)
    return _page(filled), 422


@pages.get("/tasks/<task_id>/submitted")
def done(task_id: str) -> ResponseReturnValue:
    """The task that was just submitted, live."""
    views = engine().views
    mark = views.change_mark()
    task = views.task(task_id).result
    fresh = time.time() - (task.submitted_at or 0) < _SOON
    reasons = [fact for fact in views.waiting_reason(task_id) if not (fresh and fact.code == "outbox")]
    return render_template("submitted.html", mark=mark, task=task, reasons=reasons, topic=engine().topic_of(task.queue))


def _submit(call: Call) -> tuple[str, str]:
    """The new task's id, or what the queue says against it."""
    try:
        return engine().client.options(**call.options).submit(call.name, *call.args, **call.kwargs), ""
    except (ConfigError, InvalidName, TaskNotSerializable, PayloadTooLarge) as refusal:
        return "", sentence(refusal)


def _find(functions: list[FunctionInfo], name: str) -> FunctionInfo | None:
    return next((function for function in functions if function.name == name), None)


def _name_problem(name: str) -> str:
    try:
        check_name("task", name)
    except InvalidName as refusal:
        return sentence(refusal)
    return ""


def _call_like(task_id: str) -> Call | None:
    """What another task was called with, as far as that is kept."""
    if not task_id:
        return None
    detail = engine().views.task(task_id)
    return Call(detail.result.name, list(detail.args or []), dict(detail.kwargs or {}))


def _filled(empty: Form, call: Call | None) -> Form:
    """The form with the call's arguments; in JSON where they do not fit its fields."""
    if empty.function and not empty.as_json:
        fields = filled_fields(empty.function, call.args, call.kwargs) if call else argument_fields(empty.function)
        if fields is not None:
            empty.arguments = fields
            return empty
        empty.as_json = True
    empty.arguments = [json_field((call or Call("")).as_json())]
    return empty


def _switched(filled: Form, call: Call, to_json: bool) -> Form:
    """What was typed in the other mode; what cannot be read as yet stays where it is."""
    if filled.as_json and filled.wrong:
        return filled
    if to_json:
        for one in filled.arguments:
            if one.error and one.text:
                call.kwargs[one.label] = one.text  # as typed, to be mended there
    filled.as_json = to_json or filled.function is None
    return _filled(filled, call)


def _read_json(call: Call) -> Field:
    one = json_field(request.form.get("json", ""))
    read_json(one, call)
    return one


def _choose(functions: list[FunctionInfo], asked: str) -> str:
    words = asked.lower().split()
    matching = [one for one in functions if all(word in f"{one.name} {one.doc}".lower() for word in words)]
    return render_template("submit_choose.html", functions=matching, known=len(functions), asked=asked)


@dataclass
class Beside:
    """What is known of a function beside its form."""

    signature: str = ""
    workers: list[WorkerInfo] = field(default_factory=list)
    queues: list[QueueInfo] = field(default_factory=list)
    lately: list[TaskResult] = field(default_factory=list)


def _beside(function: FunctionInfo | None) -> Beside:
    if function is None:
        return Beside()
    views = engine().views
    knowing = [worker for worker in views.workers() if worker.online and _find(worker.functions, function.name)]
    queues = [queue for queue in views.queues() if queue.name in function.queues]
    found = views.search(parse_query(f'name:"{function.name}"'), limit=4 * _LATELY).items
    lately = [task for task in found if task.name == function.name][:_LATELY]
    return Beside(signature(function), knowing, queues, lately)


def _page(filled: Form) -> str:
    functions = engine().views.functions()
    return render_template("submit.html", form=filled, beside=_beside(filled.function), functions=functions)
