"""Every change through the web leaves an entry in the audit log: who, in which role, what, from where."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import new_settings
from tests.integration.web_client import Web
from webapp.access import ROLES
from yadtq.core.yadtq_views import AuditEntry
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis


@pytest.fixture
def web(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(**new_settings(kafka, redis_server)) as made:
        yield made


def newest(web: Web) -> AuditEntry:
    return web.engine.views.audit(limit=1).items[0]


def test_signing_in_and_out_is_noted(web: Web) -> None:
    client = web.signed_in("operator")
    entry = newest(web)
    client.post("/logout", data={"csrf_token": web.csrf_token(client)})

    assert (entry.user, entry.role, entry.action, entry.detail) == ("ada", "operator", "login", "by link")
    assert entry.address == "127.0.0.1"
    assert (newest(web).action, newest(web).user) == ("logout", "ada")


def test_what_is_done_to_tasks_is_noted_with_the_person_in_both_logs(web: Web) -> None:
    client = web.signed_in("operator")
    token = web.csrf_token(client)
    form = {"csrf_token": token, "task": "add", "json": '{"args": [1], "kwargs": {}}', "delay": "60"}
    task_id = client.post("/submit", data=form).location.split("/")[2]
    submitted = newest(web)
    client.post(f"/tasks/{task_id}/cancel", data={"csrf_token": token})
    cancelled = newest(web)
    client.post(f"/tasks/{task_id}/retry", data={"csrf_token": token})

    assert (submitted.action, submitted.target, submitted.detail) == ("submit", task_id, "add")
    assert (cancelled.action, cancelled.target, cancelled.detail) == ("cancel", task_id, "now cancelled")
    assert (newest(web).action, newest(web).user) == ("retry", "ada")
    assert [(one.action, one.by) for one in web.engine.views.task(task_id).actions] == [
        ("cancel", "ada"),
        ("retry", "ada"),
    ]


def test_a_refused_change_leaves_no_entry(web: Web) -> None:
    client = web.signed_in("operator")
    client.post("/tasks/none/retry", data={"csrf_token": web.csrf_token(client)})

    assert newest(web).action == "login"


SILENT = {"auth.theme"}  # it changes nothing but the own browser's cookie


def names_used(view: Callable[..., Any]) -> set[str]:
    """What a view names, and what the functions of the web that it names do."""
    found: set[str] = set()
    ahead, seen = [inspect.unwrap(view)], set()
    while ahead:
        function = ahead.pop()
        seen.add(function)
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        used = [inspect.unwrap(one) for name in names if inspect.isfunction(one := function.__globals__.get(name))]
        ahead += [one for one in used if one.__module__.startswith("webapp.") and one not in seen]
        found |= names
    return found


def test_every_route_that_changes_something_notes_it(web: Web) -> None:
    changing = {rule.endpoint for rule in web.app.url_map.iter_rules() if {"POST", "DELETE"} & (rule.methods or set())}
    silent = {name for name in changing & set(ROLES) if "record" not in names_used(web.app.view_functions[name])}

    assert silent == SILENT
