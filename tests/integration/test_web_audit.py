"""Every change through the web leaves an entry in the audit log: who, in which role, what, from where."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest

from tests.helpers import new_settings
from tests.integration.web_client import Web
from webapp.access import ROLES
from yadtq.core.yadtq_views import AuditEntry, record_action
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


def did(page: str) -> list[tuple[str, str]]:
    """What was done to what, as the page shows it."""
    found = re.findall(r'<b>([^<]+)</b></td><td data-l="Who" class="full">.*?data-l="To">(.*?)</td>', page)
    return [(action, re.sub("<[^>]+>", "", target)) for action, target in found]


def test_the_log_is_narrowed_to_a_person_an_action_or_a_target(web: Web) -> None:
    store = web.engine.store
    for number in range(60):
        for user, action in (("bea", "retry"), ("cem", "bulk cancel")):
            record_action(store, user=user, role="operator", action=action, target=f"t{number}", detail="job x1")
    admin = web.signed_in("admin")

    first = admin.get("/audit?user=bea").text
    second = admin.get(unescape(re.findall(r'href="([^"]+)">Older', first)[0])).text

    assert did(first) + did(second) == [("retry", f"t{number}") for number in reversed(range(60))]
    assert "Older" not in second
    assert did(admin.get("/audit?action=CANCEL&target=t7").text) == [("bulk cancel", "t7")]
    assert len(did(admin.get("/audit?target=X1&user=cem").text)) == 50
    assert "Nothing like it was done" in admin.get("/audit?user=be").text


def test_a_matching_entry_is_found_behind_thousands_of_others(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yadtq.core.views.audit.STRETCH", 10)
    store = web.engine.store
    for user in ["bea", *["cem"] * 40]:
        record_action(store, user=user, role="operator", action="retry", target="t1")

    assert [entry.user for entry in web.engine.views.audit(user="bea").items] == ["bea"]
    assert len(web.engine.views.audit(user="cem", limit=40).items) == 40
    assert web.engine.views.audit(user="cem", limit=40).next is None


def test_a_worker_is_told_of_by_its_name_and_linked(web: Web) -> None:
    about = {"name": "box-7", "host": "h", "pid": 1, "version": "0", "queues": [], "concurrency": 1, "started": 1.0}
    web.engine.store.beat("0a1b2c", json.dumps({**about, "functions": []}), "{}", [])
    admin = web.signed_in("admin")
    admin.post("/workers/0a1b2c/pause", data={"csrf_token": web.csrf_token(admin)})

    page = admin.get("/audit").text

    assert ("pause worker", "box-7") in did(page)
    assert 'href="/workers/0a1b2c" title="0a1b2c">box-7</a>' in page


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
