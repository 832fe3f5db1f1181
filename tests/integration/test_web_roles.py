"""Every route the app has, tried by everybody: strangers, each role by session and by token, and on a read-only web."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from tests.integration.web_client import Web
from webapp import access
from webapp.access import OPEN, PERSONAL, READ_ONLY, ROLES
from yadtq.embedded import EmbeddedRedis

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}
EVERYBODY = ["viewer", "operator", "admin"]
ENDS_THE_SESSION = {"auth.logout", "sessions.end_all"}
BY_TOKEN = ("api.", "metrics.")


@pytest.fixture(scope="module")
def web(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url) as made:
        yield made


@pytest.fixture(scope="module")
def read_only(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url, read_only=True) as made:
        yield made


def routes(web: Web) -> list[tuple[Rule, str]]:
    """Every route with every method it answers to."""
    methods = [(rule, method) for rule in web.app.url_map.iter_rules() for method in sorted(rule.methods or ())]
    return [(rule, method) for rule, method in methods if method not in ("HEAD", "OPTIONS")]


def ask(web: Web, client: FlaskClient, rule: Rule, method: str, token: str | None = None) -> int:
    """The status the route answers with, asked as its page or program would, about things that do not exist."""
    path = rule.rule
    for name in rule.arguments:
        path = path.replace(f"<{name}>", "none").replace(f"<path:{name}>", "none")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if rule.endpoint == "live.ws":  # without a view: past the gate of roles it is a bad request
        headers |= {**UPGRADE, "Origin": web.origin}
    form = {"csrf_token": web.csrf_token(client)} if method != "GET" and not token else {}
    with client.open(path, method=method, data=form, headers=headers) as answer:
        return answer.status_code


def test_every_route_is_open_on_purpose_or_has_a_role(web: Web) -> None:
    endpoints = {rule.endpoint for rule in web.app.url_map.iter_rules()}

    assert endpoints == set(ROLES) | OPEN
    assert not set(ROLES) & OPEN


def test_what_is_open_to_strangers_is_known_by_heart(web: Web) -> None:
    assert sorted(OPEN) == [
        "auth.login",
        "auth.login_page",
        "auth.redeem",
        "health.healthz",
        "health.readyz",
        "static",
    ]


def test_a_stranger_gets_nowhere_but_there(web: Web) -> None:
    for rule, method in routes(web):
        if rule.endpoint in OPEN:
            continue
        headers = UPGRADE if rule.endpoint == "live.ws" else {}
        answer = web.stranger().open(rule.rule.replace("<", "").replace(">", ""), method=method, headers=headers)
        to_sign_in = answer.status_code == 303 and answer.location.startswith("/login")
        assert to_sign_in or answer.status_code == 401, (rule.rule, method, answer.status_code)


@pytest.mark.parametrize("role", EVERYBODY)
def test_each_role_may_exactly_what_the_table_says(web: Web, role: str) -> None:
    client = web.signed_in(role)
    for rule, method in routes(web):
        if rule.endpoint in OPEN or (rule.endpoint.startswith(BY_TOKEN) and method != "GET"):
            continue
        if rule.endpoint in ENDS_THE_SESSION:
            continue
        refused = ask(web, client, rule, method) == 403
        assert refused != access.allows(role, ROLES[rule.endpoint]), (rule.rule, method)


@pytest.mark.parametrize("role", EVERYBODY)
@pytest.mark.parametrize("endpoint", sorted(ENDS_THE_SESSION))
def test_everybody_may_sign_out(web: Web, role: str, endpoint: str) -> None:
    client = web.signed_in(role)
    [(rule, method)] = [(rule, method) for rule, method in routes(web) if rule.endpoint == endpoint]

    assert ask(web, client, rule, method) == 303
    assert client.get("/").status_code == 303


@pytest.mark.parametrize("role", EVERYBODY)
def test_a_token_may_what_its_role_may_in_the_api_and_nothing_elsewhere(web: Web, role: str) -> None:
    token = web.accounts.create_api_token(f"of-{role}", role)
    for rule, method in routes(web):
        if rule.endpoint in OPEN:
            continue
        status = ask(web, web.stranger(), rule, method, token)
        if rule.endpoint.startswith(BY_TOKEN):
            assert (status == 403) != access.allows(role, ROLES[rule.endpoint]), (rule.rule, method, status)
            assert status != 401, (rule.rule, method)
        else:
            assert status in (303, 401), (rule.rule, method, status)


def test_a_cookie_changes_nothing_in_the_api(web: Web) -> None:
    client = web.signed_in("admin")
    for rule, method in routes(web):
        if rule.endpoint.startswith(BY_TOKEN) and method != "GET":
            assert ask(web, client, rule, method) == 401, (rule.rule, method)


def test_a_route_without_a_role_is_refused_to_everybody(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(access.ROLES, "submit.form")

    assert web.signed_in("admin").get("/submit").status_code == 403


def test_a_read_only_web_refuses_every_change_in_one_sentence(read_only: Web) -> None:
    client, token = read_only.signed_in("admin"), read_only.accounts.create_api_token("all", "admin")
    for rule, method in routes(read_only):
        if rule.endpoint in OPEN | PERSONAL or method == "GET":
            continue
        by_token = rule.endpoint.startswith(BY_TOKEN)
        path = rule.rule.replace("<", "").replace(">", "")
        headers = {"Authorization": f"Bearer {token}"} if by_token else {}
        form = {} if by_token else {"csrf_token": read_only.csrf_token(client)}
        answer = client.open(path, method=method, data=form, headers=headers)
        assert answer.status_code == 403, (rule.rule, method)
        told = answer.get_json()["error"] if by_token else answer.text
        assert READ_ONLY in told, (rule.rule, method)


def test_a_read_only_web_shows_everything_without_its_buttons(read_only: Web) -> None:
    client = read_only.signed_in("admin")
    for path in ("/", "/tasks", "/workers", "/users", "/tokens", "/sessions", "/audit"):
        page = client.get(path)
        assert page.status_code == 200, path
        assert "Submit task" not in page.text, path
        assert ">Read-only<" in page.text, path
        assert "data-only-looks" in page.text, path
        for gone in ("Add the user", "Make the token", "Delete", "Revoke", 'href="/submit"'):
            assert gone not in page.text, (path, gone)
    assert client.get("/submit").status_code == 403


def test_a_read_only_web_still_lets_people_in_and_out(read_only: Web) -> None:
    client = read_only.signed_in("viewer")

    assert client.post("/logout", data={"csrf_token": read_only.csrf_token(client)}).location == "/login"
