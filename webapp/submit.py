"""The submit page: choose a function, fill in its form or JSON, see that the task is on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, redirect, render_template, request, url_for

from webapp.audit import record
from webapp.engine import engine
from webapp.errors import sentence
from webapp.forms import Call, Field, argument_fields, option_fields, read_arguments, read_json, read_options
from yadtq.core.yadtq_task import check_name
from yadtq.errors import ConfigError, InvalidName, PayloadTooLarge, TaskNotSerializable

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

    from yadtq.core.yadtq_views import FunctionInfo

pages = Blueprint("submit", __name__)


@pages.get("/submit")
def form() -> ResponseReturnValue:
    """The empty form of the chosen function, or of the first one."""
    functions = engine().views.functions()
    chosen = _chosen(functions, request.args.get("task", ""), default=True)
    as_json = chosen is None or request.args.get("mode") == "json"
    name = chosen.name if chosen else request.args.get("task", "")
    arguments = argument_fields(chosen) if chosen and not as_json else [_json_field()]
    return _page(functions, chosen, name, as_json, arguments, option_fields({}))


@pages.post("/submit")
def send() -> ResponseReturnValue:
    """Submit, then show the task; a form that cannot be submitted comes back with its errors by the field."""
    functions = engine().views.functions()
    name = request.form.get("task", "").strip()
    chosen = _chosen(functions, name)
    as_json = chosen is None or "json" in request.form
    call = Call(name)
    by_field = None if as_json else chosen
    arguments = read_arguments(by_field, request.form, call) if by_field else [_read_json_field(call)]
    options = read_options(request.form, call)
    problem = _name_problem(name)
    if not problem and not any(one.error for one in [*arguments, *options]):
        task_id, problem = _submit(call)
        if task_id:
            record("submit", task_id, call.name)
            return redirect(url_for("submit.done", task_id=task_id), 303)
    return _page(functions, chosen, name, as_json, arguments, options, problem), 422


@pages.get("/tasks/<task_id>/submitted")
def done(task_id: str) -> ResponseReturnValue:
    """The task that was just submitted, live."""
    views = engine().views
    mark = views.change_mark()
    return render_template("submitted.html", mark=mark, task=views.task(task_id).result)


def _submit(call: Call) -> tuple[str, str]:
    """The new task's id, or what the queue says against it."""
    try:
        return engine().client.options(**call.options).submit(call.name, *call.args, **call.kwargs), ""
    except (ConfigError, InvalidName, TaskNotSerializable, PayloadTooLarge) as refusal:
        return "", sentence(refusal)


def _chosen(functions: list[FunctionInfo], name: str, default: bool = False) -> FunctionInfo | None:
    found = next((function for function in functions if function.name == name), None)
    return functions[0] if found is None and default and functions and not name else found


def _name_problem(name: str) -> str:
    try:
        check_name("task", name)
    except InvalidName as refusal:
        return sentence(refusal)
    return ""


def _json_field() -> Field:
    text = request.form.get("json", '{"args": [], "kwargs": {}}')
    return Field("json", "Arguments", "JSON", "json", text=text, help='"args" by position, "kwargs" by name.')


def _read_json_field(call: Call) -> Field:
    field = _json_field()
    field.error = read_json(field.text, call)
    return field


def _page(
    functions: list[FunctionInfo],
    chosen: FunctionInfo | None,
    name: str,
    as_json: bool,
    arguments: list[Field],
    options: list[Field],
    problem: str = "",
) -> str:
    wrong = [one for one in [*arguments, *options] if one.error]
    return render_template(
        "submit.html",
        functions=functions,
        chosen=chosen,
        name=name,
        as_json=as_json,
        arguments=arguments,
        options=options,
        wrong=wrong,
        problem=problem,
    )
