"""Who gets in, who may do what, and what is refused before it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from werkzeug.security import generate_password_hash

from tests.integration.web_client import Web, find_csrf_token
from webapp import create_app
from yadtq.embedded import EmbeddedRedis
from yadtq.errors import ConfigError

UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket"}
KEY = "qN3v8Jx2Lr5Tz7Wc0Yb4Hd6Fg9Ks1Mp2"


@pytest.fixture
def web(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url) as made:
        yield made


def test_a_stranger_is_asked_to_sign_in_and_sent_on_afterwards(web: Web) -> None:
    answer = web.stranger().get("/tasks?status=failed")

    assert answer.status_code == 303
    assert answer.location == "/login?next=/tasks?status%3Dfailed"


def test_a_password_lets_in_and_a_wrong_one_does_not(web: Web) -> None:
    web.accounts.add_user("ada", generate_password_hash("correct horse", method="scrypt"), "operator")
    client = web.stranger()

    assert web.log_in(client, "ada", "wrong").status_code == 401
    assert web.log_in(client, "nobody", "wrong").status_code == 401
    answer = web.log_in(client, "ada", "correct horse", next="/workers")

    assert (answer.status_code, answer.location) == (303, "/workers")
    assert client.get("/workers").status_code == 200


@pytest.mark.parametrize("target", ["//evil.example/", "/\\evil.example", "https://evil.example", "evil", ""])
def test_after_signing_in_nobody_is_sent_to_another_site(web: Web, target: str) -> None:
    web.accounts.add_user("ada", generate_password_hash("correct horse", method="scrypt"), "viewer")

    assert web.log_in(web.stranger(), "ada", "correct horse", next=target).location == "/"


def test_the_sixth_try_in_five_minutes_is_not_even_checked(web: Web) -> None:
    web.accounts.add_user("ada", generate_password_hash("correct horse", method="scrypt"), "viewer")
    client = web.stranger()

    statuses = [web.log_in(client, "ada", "wrong").status_code for _ in range(5)]
    last = web.log_in(client, "ada", "correct horse")

    assert statuses == [401] * 5
    assert last.status_code == 429
    assert "wait 5 minutes" in last.text


def test_only_tries_that_fail_are_counted(web: Web) -> None:
    web.accounts.add_user("ada", generate_password_hash("correct horse", method="scrypt"), "viewer")

    right = [web.log_in(web.stranger(), "ada", "correct horse").status_code for _ in range(7)]
    wrong = [web.log_in(web.stranger(), "ada", "wrong").status_code for _ in range(6)]

    assert right == [303] * 7
    assert wrong == [401] * 5 + [429]


def test_links_that_sign_in_are_not_counted_and_wrong_ones_keep_no_password_out(web: Web) -> None:
    web.accounts.add_user("ada", generate_password_hash("correct horse", method="scrypt"), "viewer")
    client = web.stranger()
    form = {"csrf_token": find_csrf_token(client.get("/login").text), "token": "made up"}

    links = [web.redeem(web.stranger(), web.accounts.create_login_link("ada", "viewer")).status_code for _ in range(3)]
    made_up = [client.post("/login/link", data=form).status_code for _ in range(61)]

    assert links == [303] * 3
    assert made_up == [401] * 60 + [429]
    assert web.log_in(client, "ada", "correct horse").status_code == 303


def test_whoever_hammers_one_name_keeps_no_other_out(web: Web) -> None:
    """All who come through a proxy that the settings do not know have one address."""
    for name in ("ada", "bob"):
        web.accounts.add_user(name, generate_password_hash("correct horse", method="scrypt"), "viewer")
    client = web.stranger()

    tries = [web.log_in(client, "ada", "wrong").status_code for _ in range(70)]

    assert tries == [401] * 5 + [429] * 65
    assert web.log_in(client, "bob", "correct horse").status_code == 303


def test_tries_at_the_same_time_are_each_counted(web: Web) -> None:
    web.accounts.add_user("ada", generate_password_hash("correct horse", method="scrypt"), "viewer")

    with ThreadPoolExecutor(12) as threads:
        tries = list(threads.map(lambda _: web.log_in(web.stranger(), "ada", "wrong").status_code, range(12)))

    assert sorted(tries) == [401] * 5 + [429] * 7


def test_giving_back_a_try_of_a_window_that_is_over_leaves_nothing(web: Web) -> None:
    web.accounts.give_back_attempt("login:here")
    assert not web.engine.store.client.keys(web.engine.store.key("throttle:", "*"))


def test_behind_a_proxy_tries_are_counted_by_visitor(redis_server: EmbeddedRedis) -> None:
    def tries(web: Web) -> set[int]:
        """The statuses of six wrong tries from six addresses, as the proxy tells them."""
        web.accounts.add_user("ada", generate_password_hash("correct horse", method="scrypt"), "viewer")
        client = web.stranger()
        form = {"csrf_token": find_csrf_token(client.get("/login").text), "name": "ada", "password": "wrong"}
        told = [{"X-Forwarded-For": f"6.6.6.6, 192.0.2.{n}"} for n in range(6)]
        return {client.post("/login", data=form, headers=headers).status_code for headers in told}

    with Web(redis_server.url, web_proxies=1) as behind, Web(redis_server.url) as open_web:
        assert tries(behind) == {401}
        assert tries(open_web) == {401, 429}  # who has no proxy would else choose an address for each try


def test_a_link_signs_in_once_and_only_when_its_button_is_pressed(web: Web) -> None:
    token = web.accounts.create_login_link("ada", "admin", 60)
    client = web.stranger()

    for _ in range(2):  # a preview of the link by a chat program changes nothing
        assert "This link signs you in once." in client.get(f"/login?token={token}").text
    first = web.redeem(client, token)
    second = web.redeem(web.stranger(), token)

    assert first.status_code == 303
    assert client.get("/").status_code == 200
    assert second.status_code == 401
    assert "used before or has expired" in second.text


def test_signing_out_ends_the_session_in_redis_too(web: Web) -> None:
    client = web.signed_in("viewer")
    stolen = client.get_cookie(web.cookie_name)
    assert stolen is not None
    client.post("/logout", data={"csrf_token": web.csrf_token(client)})
    thief = web.stranger()
    thief.set_cookie(web.cookie_name, stolen.value)

    assert client.get("/").status_code == 303
    assert thief.get("/").status_code == 303


@pytest.mark.parametrize("path", ["/tasks/x/retry", "/tasks/x/cancel", "/submit", "/logout", "/theme"])
def test_a_form_without_a_token_is_refused(web: Web, path: str) -> None:
    answer = web.signed_in("admin").post(path)

    assert answer.status_code == 400
    assert "older than your sign-in" in answer.text


def test_a_form_sent_from_another_site_is_refused(web: Web) -> None:
    client = web.signed_in("admin")
    data = {"csrf_token": web.csrf_token(client)}

    answer = client.post("/tasks/x/retry", data=data, headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1.evil.example:8000", "null", None])
def test_a_websocket_of_a_foreign_origin_is_refused(web: Web, origin: str | None) -> None:
    headers = {**UPGRADE, **({"Origin": origin} if origin else {})}

    assert web.signed_in("admin").get("/ws?view=tasks", headers=headers).status_code == 403


def test_a_websocket_without_a_session_is_refused(web: Web) -> None:
    headers = {**UPGRADE, "Origin": web.origin}

    assert web.stranger().get("/ws?view=tasks", headers=headers).status_code == 401


def test_beyond_the_cap_a_websocket_is_told_to_poll(web: Web) -> None:
    web.app.extensions["yadtq-slots"].limit = 0
    headers = {**UPGRADE, "Origin": web.origin}

    answer = web.signed_in("viewer").get("/ws?view=tasks", headers=headers)

    assert answer.status_code == 503
    assert web.app.extensions["yadtq-slots"].taken == 0


def test_every_answer_carries_the_headers(web: Web) -> None:
    client = web.signed_in("viewer")
    for path in ("/", "/tasks", "/tasks/none", "/login", "/healthz", "/static/app.js", "/api/v1/tasks"):
        with client.get(path) as answer:
            headers = answer.headers
        assert "default-src 'none'" in headers["Content-Security-Policy"], path
        assert "unsafe" not in headers["Content-Security-Policy"], path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert path.startswith("/static/") or headers["Cache-Control"] == "no-store"


def test_the_cookie_is_out_of_reach_of_scripts_and_bound_to_https(redis_server: EmbeddedRedis) -> None:
    with Web(redis_server.url, web_url="https://tasks.example.org") as web:
        token = web.accounts.create_login_link("ada", "admin", 60)
        client = web.stranger()
        set_cookie = web.redeem(client, token, base="https://tasks.example.org").headers["Set-Cookie"]

    assert set_cookie.startswith("__Host-yadtq=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(set_cookie.split("; "))


def test_a_host_name_of_somebody_else_is_refused(web: Web) -> None:
    assert web.stranger().get("/login", base_url="http://evil.example").status_code == 400


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"web_host": "0.0.0.0", "web_url": "http://a.example"}, "set YADTQ_SECRET_KEY"),
        ({"web_host": "0.0.0.0", "secret_key": KEY}, "set YADTQ_WEB_URL"),
        ({"web_host": "0.0.0.0", "secret_key": KEY, "web_url": "http://a.example", "api_token": KEY}, "yadtq user add"),
        ({"web_host": "0.0.0.0", "secret_key": KEY, "web_url": "http://a.example"}, "set YADTQ_API_TOKEN"),
        ({"secret_key": "changeme" * 8}, "short or easily guessed"),
        ({"secret_key": "short"}, "short or easily guessed"),
    ],
)
def test_it_does_not_start_half_locked(redis_server: EmbeddedRedis, settings: dict[str, Any], remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        Web(redis_server.url, **settings)


def test_two_processes_share_a_key_they_were_not_given(web: Web) -> None:
    other: Flask = create_app(**web.settings)
    client = web.signed_in("viewer")
    cookie = client.get_cookie(web.cookie_name)
    assert cookie is not None
    beside = other.test_client()
    beside.set_cookie(web.cookie_name, cookie.value)

    assert beside.get("/").status_code == 200
