"""A task again with other arguments: its form, filled with the old ones, and the new task it makes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flask import Blueprint, flash, g, redirect, render_template, request, url_for

from webapp.audit import record
from webapp.display import as_json
from webapp.engine import engine
from webapp.errors import sentence
from webapp.masking import masked, restored
from yadtq.errors import BrokerUnavailable, PayloadTooLarge, RejectedRecord, TaskNotFound, TaskNotSerializable

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

pages = Blueprint("again", __name__)

_KINDS: dict[str, tuple[type, str]] = {
    "args": (list, "This must be a JSON list, such as [1, 2]."),
    "kwargs": (dict, 'This must be a JSON object, such as {"a": 1}.'),
}


@dataclass(frozen=True)
class Typed:
    """One field as it was typed, and what it means or what is wrong with it."""

    text: str
    value: Any = None
    error: str = ""


@pages.get("/tasks/<task_id>/again")
def form(task_id: str) -> ResponseReturnValue:
    """The old arguments to change."""
    old, trouble = _old(task_id)
    return _page(task_id, {name: Typed(as_json(masked(old[name]))) for name in _KINDS}, trouble)


@pages.post("/tasks/<task_id>/again")
def send(task_id: str) -> ResponseReturnValue:
    """Submit the new task; a form that cannot be sent comes back with its errors by the field."""
    typed = {name: _read(name) for name in _KINDS}
    if any(one.error for one in typed.values()):
        return _page(task_id, typed), 422
    old, _ = _old(task_id)
    args, kwargs = (restored(typed[name].value, old[name]) for name in _KINDS)
    key = request.form.get("form_key") or None  # the same form twice makes one task
    try:
        new = engine().client.resubmit(task_id, args, kwargs, by=g.user, key=key)
    except (TaskNotSerializable, PayloadTooLarge) as refusal:
        return _page(task_id, typed, sentence(refusal)), 422
    record("resubmit", task_id, f"as {new}")
    flash("Submitted as a new task. The old one stays as it is.", "success")
    return redirect(url_for("tasks.show", task_id=new), 303)


def _old(task_id: str) -> tuple[dict[str, Any], str]:
    """The task's arguments, or empty ones and why they cannot be had. Raises TaskNotFound: there is no such task."""
    try:
        call = engine().client.arguments(task_id)
    except (TaskNotFound, RejectedRecord, BrokerUnavailable) as refusal:
        engine().views.result(task_id)
        return {"args": [], "kwargs": {}}, f"{sentence(refusal)} Write them anew."
    return {"args": list(call.args), "kwargs": call.kwargs}, ""


def _read(name: str) -> Typed:
    kind, wanted = _KINDS[name]
    text = request.form.get(name, "").strip()
    try:
        value = json.loads(text or ("[]" if kind is list else "{}"))
    except (ValueError, RecursionError) as error:
        return Typed(text, error=f"This is not JSON: {error}.")
    return Typed(text, value) if isinstance(value, kind) else Typed(text, error=wanted)


def _page(task_id: str, typed: dict[str, Typed], trouble: str = "") -> str:
    task = engine().views.result(task_id)
    known = next((one for one in engine().views.functions() if one.name == task.name), None)
    return render_template("task_again.html", task=task, typed=typed, trouble=trouble, known=known)
