"""Users, tokens and sessions: made, changed and ended from the pages, and what that does to those who are in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash

from tests.integration.web_client import Web
from yadtq.core.accounts.base import hashed
from yadtq.embedded import EmbeddedRedis

PASSWORD = "correct horse"
HASH = generate_password_hash(PASSWORD, method="scrypt")


@pytest.fixture
def web(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url) as made:
        yield made


@pytest.fixture
def admin(web: Web) -> FlaskClient:
    return web.signed_in("admin")


def send(web: Web, client: FlaskClient, path: str, **form: str) -> str:
    """Send a form and follow to the page it leads to."""
    answer = client.post(path, data={"csrf_token": web.csrf_token(client), **form}, follow_redirects=True)
    return answer.text


def signed_in_by_password(web: Web, name: str) -> FlaskClient:
    client = web.stranger()
    assert web.log_in(client, name, PASSWORD).status_code == 303
    return client


def is_in(client: FlaskClient) -> bool:
    return client.get("/tasks").status_code == 200


def test_an_admin_adds_a_user_who_then_signs_in(web: Web, admin: FlaskClient) -> None:
    page = send(web, admin, "/users", name="bea", role="operator", password=PASSWORD)

    assert "bea can sign in as operator." in page
    user = web.accounts.user("bea")
    assert user is not None
    assert user.password_hash.startswith("scrypt:")
    assert PASSWORD not in user.password_hash
    assert is_in(signed_in_by_password(web, "bea"))


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"name": "bea", "role": "boss", "password": PASSWORD}, "not one of viewer, operator, admin"),
        ({"name": "bea", "role": "viewer", "password": "short"}, "at least 8 characters"),
        ({"name": "a b", "role": "viewer", "password": PASSWORD}, "must be 1 to 128 of the characters"),
        ({"name": "eve", "role": "viewer", "password": PASSWORD}, "There is a user named eve already"),
    ],
)
def test_what_cannot_be_a_user_is_refused_in_a_sentence(
    web: Web, admin: FlaskClient, form: dict[str, str], words: str
) -> None:
    web.accounts.add_user("eve", HASH, "admin")

    assert words in send(web, admin, "/users", **form)
    assert [user.name for user in web.accounts.users()] == ["eve"]
    assert web.accounts.users()[0].role == "admin"


def test_a_changed_role_or_password_ends_the_users_sessions(web: Web, admin: FlaskClient) -> None:
    web.accounts.add_user("bea", HASH, "operator")
    client = signed_in_by_password(web, "bea")
    send(web, admin, "/users/bea", role="viewer")
    after_role = is_in(client)
    client = signed_in_by_password(web, "bea")
    send(web, admin, "/users/bea", role="viewer", password="another horse")

    assert not after_role
    assert not is_in(client)
    assert web.log_in(web.stranger(), "bea", PASSWORD).status_code == 401
    assert web.accounts.sessions("bea") == []


def test_a_deleted_user_is_out_and_a_new_one_of_the_name_does_not_bring_the_session_back(
    web: Web, admin: FlaskClient
) -> None:
    web.accounts.add_user("bea", HASH, "operator")
    client = signed_in_by_password(web, "bea")
    send(web, admin, "/users/bea/delete")
    gone = is_in(client)
    web.accounts.add_user("bea", HASH, "operator")

    assert not gone
    assert not is_in(client)


def test_a_sign_in_that_is_overtaken_by_a_change_is_worth_nothing(web: Web) -> None:
    """The password was right when it was looked at; before the session was made the user was changed."""
    web.accounts.add_user("bea", HASH, "admin")
    seen = web.accounts.user("bea")
    assert seen is not None
    web.accounts.change_user("bea", role="viewer")

    assert web.accounts.session(web.accounts.create_session(seen, 60)) is None


def test_a_link_is_over_when_its_user_is_changed(web: Web) -> None:
    web.accounts.add_user("bea", HASH, "admin")
    token = web.accounts.create_login_link("bea", "admin", 60)
    web.accounts.delete_user("bea")
    client = web.stranger()
    web.redeem(client, token)

    assert not is_in(client)


def test_an_admin_cannot_lock_the_last_admin_out(web: Web) -> None:
    web.accounts.add_user("ada", HASH, "admin")
    client = signed_in_by_password(web, "ada")

    assert "by another admin" in send(web, client, "/users/ada/delete")
    assert "by another admin" in send(web, client, "/users/ada", role="viewer")
    assert is_in(client)


def test_everybody_sees_and_ends_the_own_sessions_alone(web: Web, admin: FlaskClient) -> None:
    web.accounts.add_user("bea", HASH, "viewer")
    first, second = signed_in_by_password(web, "bea"), signed_in_by_password(web, "bea")
    page = first.get("/sessions").text
    others = web.accounts.sessions("ada")
    send(web, first, f"/sessions/{others[0].id}/end")
    ids = re.findall(r"/sessions/([0-9a-f]{64})/end", page)
    refused = first.post("/sessions/end", data={"csrf_token": web.csrf_token(first), "user": "ada"})
    send(web, second, "/sessions/end")

    assert len(ids) == 2
    assert ">ada<" not in page
    assert is_in(admin)
    assert refused.status_code == 403
    assert not is_in(first)
    assert not is_in(second)


def test_an_admin_ends_one_session_of_somebody(web: Web, admin: FlaskClient) -> None:
    web.accounts.add_user("bea", HASH, "viewer")
    first, second = signed_in_by_password(web, "bea"), signed_in_by_password(web, "bea")
    oldest = web.accounts.sessions("bea")[-1]
    send(web, admin, f"/sessions/{oldest.id}/end")

    assert [is_in(first), is_in(second)].count(True) == 1


def test_a_session_is_kept_with_where_it_came_from_and_not_with_its_secret(web: Web, admin: FlaskClient) -> None:
    [session] = web.accounts.sessions()
    client = web.engine.store.client
    stored = b"".join(
        key + b"".join(client.hgetall(key).values())
        for key in client.scan_iter(f"{web.settings['redis_prefix']}*")
        if client.type(key) == b"hash"
    )
    with admin.session_transaction() as cookie:
        secret = cookie["sid"]

    assert (session.user, session.address) == ("ada", "127.0.0.1")
    assert "Werkzeug" in session.agent
    assert secret.encode() not in stored
    assert admin.get("/sessions").text.count("this browser") == 1


def test_a_session_that_has_expired_is_not_listed(web: Web) -> None:
    web.accounts.add_user("bea", HASH, "viewer")
    user = web.accounts.user("bea")
    assert user is not None
    secret = web.accounts.create_session(user, 60)
    web.engine.store.client.delete(web.engine.store.key("session:", web.accounts.sessions("bea")[0].id))

    assert web.accounts.session(secret) is None
    assert web.accounts.sessions() == []


def test_a_token_is_shown_once_works_and_is_revoked(web: Web, admin: FlaskClient) -> None:
    page = send(web, admin, "/tokens", name="grafana", role="viewer")
    found = re.search(r'id="made">(yadtq_[\w-]+)<', page)
    assert found
    header = {"Authorization": f"Bearer {found[1]}"}
    before = web.stranger().get("/api/v1/stats", headers=header).status_code
    listed = admin.get("/tokens").text
    stored = web.engine.store.client.hgetall(web.engine.store.key("tokens"))
    taken = send(web, admin, "/tokens", name="grafana", role="admin")
    kept_tokens = len(list(web.engine.store.client.scan_iter(f"{web.settings['redis_prefix']}token:*")))
    send(web, admin, "/tokens/grafana/revoke")

    assert before == 200
    assert "grafana" in listed
    assert found[1] not in listed
    assert found[1].encode() not in b"".join(stored.values())
    assert "There is a token named grafana already" in taken
    assert kept_tokens == 1
    assert web.stranger().get("/api/v1/stats", headers=header).status_code == 401
    assert web.accounts.api_tokens() == []


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def moved(web: Web, token: str, field: str, seconds: float) -> None:
    """Put one of the token's times so far from now."""
    key = web.engine.store.key("token:", hashed(token))
    web.engine.store.client.hset(key, field, web.engine.store.time_ms() + round(seconds * 1000))


def test_a_token_may_expire_or_never_and_says_which(web: Web, admin: FlaskClient) -> None:
    for_ever = send(web, admin, "/tokens", name="for-ever", role="viewer", days="")
    for_a_day = send(web, admin, "/tokens", name="for-a-day", role="viewer", days="1")
    known = {one.name: one for one in web.accounts.api_tokens()}

    assert "It never expires." in for_ever
    assert "It expires in 1 day." in for_a_day
    assert (known["for-ever"].expires_at, known["for-ever"].expired) == (None, False)
    assert known["for-a-day"].expires_at == known["for-a-day"].created_at + 86_400
    assert re.search(r'data-l="Expires">never<', for_a_day)
    assert "data-age>in 23 h<" in for_a_day
    assert [one.detail for one in web.engine.views.audit(limit=2).items] == [
        "viewer, expires in 1 day",
        "viewer, never expires",
    ]


@pytest.mark.parametrize("days", ["0", "-1", "3651", "soon", "1.5"])
def test_days_that_cannot_be_make_no_token(web: Web, admin: FlaskClient, days: str) -> None:
    page = send(web, admin, "/tokens", name="bot", role="operator", days=days)

    assert "is not a whole number of days" in page or "valid for 1 to 3650 days" in page
    assert 'value="bot"' in page
    assert "<option selected>operator</option>" in page
    assert web.accounts.api_tokens() == []


def test_an_expired_token_is_refused_with_the_reason_and_shown_as_such(web: Web, admin: FlaskClient) -> None:
    token = web.accounts.create_api_token("nightly", "admin", days=1)
    before = web.stranger().get("/api/v1/stats", headers=bearer(token)).status_code
    moved(web, token, "expires", -1)
    used_at = web.accounts.api_tokens()[0].used_at
    moved(web, token, "used", -3600)
    answers = [web.stranger().get(path, headers=bearer(token)) for path in ("/api/v1/stats", "/metrics")]

    assert before == 200
    assert used_at is not None
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert re.match(r"The token nightly expired on \d{4}-\d\d-\d\d at \d\d:\d\d UTC; ", answer.get_json()["error"])
    assert "Expired</span>" in admin.get("/tokens").text
    assert (web.accounts.api_tokens()[0].used_at or 0) < used_at - 3000  # a refused use is none


def test_the_last_use_of_a_token_is_noted_at_most_once_a_minute(web: Web, admin: FlaskClient) -> None:
    token = web.accounts.create_api_token("grafana", "viewer")

    def used() -> float | None:
        web.stranger().get("/api/v1/stats", headers=bearer(token))
        return web.accounts.api_tokens()[0].used_at

    fresh = admin.get("/tokens").text
    first = used()
    assert first is not None
    moved(web, token, "used", -30)
    within = web.accounts.api_tokens()[0].used_at
    again = used()
    moved(web, token, "used", -61)
    later = used()

    assert "not yet" in fresh
    assert "not yet" not in admin.get("/tokens").text
    assert again == within
    assert later is not None
    assert later >= first


def test_a_use_that_meets_a_revocation_leaves_nothing(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token was good when it was looked at; before its use was noted it was revoked."""
    accounts, token = web.accounts, web.accounts.create_api_token("bot", "viewer")
    note = accounts._note_use

    def overtaken(*arguments: Any) -> None:
        accounts.revoke_api_token("bot")
        note(*arguments)

    monkeypatch.setattr(accounts, "_note_use", overtaken)
    web.stranger().get("/api/v1/stats", headers=bearer(token))

    assert list(web.engine.store.client.scan_iter(f"{web.settings['redis_prefix']}token:*")) == []


def test_a_use_that_cannot_be_noted_is_no_reason_to_refuse(own_redis: EmbeddedRedis) -> None:
    with Web(own_redis.url) as web:
        token = web.accounts.create_api_token("prometheus", "viewer")
        web.engine.store.client.config_set("maxmemory", "1")  # full

        assert web.stranger().get("/metrics", headers=bearer(token)).status_code == 200
        assert web.accounts.api_tokens()[0].used_at is None


def test_the_audit_page_lists_changes_in_pages_with_links(web: Web, admin: FlaskClient) -> None:
    send(web, admin, "/users", name="bea", role="viewer", password=PASSWORD)
    first = admin.get("/audit").text
    for number in range(60):
        web.accounts.create_api_token(f"t{number}", "viewer")
        send(web, admin, f"/tokens/t{number}/revoke")
    older = re.search(r'href="(/audit\?cursor=[^"]+)"', admin.get("/audit").text)
    assert older

    assert "add user" in first
    assert 'href="/users"' in first
    assert PASSWORD not in first
    assert "add user" in admin.get(older[1]).text
    assert admin.get("/audit?cursor=rubbish").status_code == 200
