"""One's own password is changed by whoever knows it, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.security import generate_password_hash
from werkzeug.test import TestResponse

from tests.integration.web_client import Web
from yadtq.embedded import EmbeddedRedis

OLD, NEW = "correct horse", "battery staple"
HASH = generate_password_hash(OLD, method="scrypt")


@pytest.fixture
def web(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url) as made:
        made.accounts.add_user("bea", HASH, "viewer")
        yield made


def bea(web: Web) -> FlaskClient:
    client = web.stranger()
    assert web.log_in(client, "bea", OLD).status_code == 303
    return client


def change(web: Web, client: FlaskClient, current: str = OLD, new: str = NEW, again: str | None = None) -> TestResponse:
    again = new if again is None else again
    form = {"csrf_token": web.csrf_token(client), "current": current, "new": new, "again": again}
    return client.post("/password", data=form)


def is_in(client: FlaskClient) -> bool:
    return client.get("/tasks").status_code == 200


def works(web: Web, password: str) -> bool:
    return web.log_in(web.stranger(), "bea", password).status_code == 303


def test_a_viewer_changes_the_own_password_and_stays_signed_in_here_alone(web: Web) -> None:
    client, elsewhere = bea(web), bea(web)
    before = client.get_cookie(web.cookie_name)
    answer = change(web, client)
    thief = web.stranger()
    assert before is not None
    thief.set_cookie(web.cookie_name, before.value)

    assert answer.location == "/sessions"
    assert "Your password is changed." in client.get("/sessions").text
    assert is_in(client)
    assert not is_in(elsewhere)
    assert not is_in(thief)  # a copy of this browser's old cookie
    assert len(web.accounts.sessions("bea")) == 1
    assert works(web, NEW)
    assert not works(web, OLD)
    user = web.accounts.user("bea")
    assert user is not None
    assert user.role == "viewer"
    assert user.password_hash.startswith("scrypt:")
    entry = next(one for one in web.engine.views.audit().items if one.action == "change password")
    assert (entry.user, entry.role, entry.target, entry.address) == ("bea", "viewer", "bea", "127.0.0.1")


def test_it_is_found_from_every_page_and_from_the_sessions(web: Web) -> None:
    client = bea(web)

    assert client.get("/tasks").text.count('href="/password"') == 1
    assert client.get("/sessions").text.count('href="/password"') == 2
    assert client.get("/password").text.count('type="password"') == 3


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"current": "wrong horse"}, {"current": "This is not your password."}),
        ({"current": ""}, {"current": "It needs a value."}),
        ({"new": "short"}, {"new": "The password is too short; take at least 8 characters."}),
        ({"again": "battery stable"}, {"again": "It differs from the new password."}),
        (
            {"current": "", "new": "short", "again": "shorter"},
            {
                "current": "It needs a value.",
                "new": "The password is too short; take at least 8 characters.",
                "again": "It differs from the new password.",
            },
        ),
    ],
    ids=["wrong", "none", "short", "differs", "all"],
)
def test_each_mistake_is_told_at_its_field_and_changes_nothing(
    web: Web, given: dict[str, str], wrong: dict[str, str]
) -> None:
    client, elsewhere = bea(web), bea(web)
    answer = change(web, client, **given)

    assert answer.status_code == 422
    assert answer.text.count('aria-invalid="true"') == len(wrong)
    for name, words in wrong.items():
        assert f'id="e-{name}">{words}<' in answer.text
        assert f'<a href="#{name}">' in answer.text
    assert answer.text.count(" autofocus") == 1
    assert NEW not in answer.text  # what was typed does not come back
    assert is_in(client)
    assert is_in(elsewhere)
    assert works(web, OLD)
    assert "change password" not in {one.action for one in web.engine.views.audit().items}


def test_guesses_are_counted_together_with_those_of_the_sign_in(web: Web) -> None:
    client = bea(web)  # signed in, which counts for nothing
    mistyped = [change(web, client, again="other").status_code for _ in range(5)]  # no guess at the password
    guessed = [change(web, client, current=f"guess {n}").status_code for n in range(5)]
    last = change(web, client)

    assert mistyped == [422] * 5
    assert guessed == [422] * 5
    assert last.status_code == 429
    assert "wait 5 minutes" in last.text
    assert web.log_in(web.stranger(), "bea", OLD).status_code == 429


def test_who_came_by_a_link_is_told_that_there_is_no_password(web: Web) -> None:
    admin, viewer = web.signed_in("admin"), web.signed_in("viewer")

    assert "There is no password to change" in admin.get("/password").text
    assert "Add a user" in admin.get("/password").text
    assert "An admin can make you a user" in viewer.get("/password").text
    assert change(web, viewer).status_code == 422
    assert web.accounts.user("ada") is None


def test_a_change_that_is_overtaken_by_an_admins_changes_nothing(web: Web) -> None:
    """The password was right when it was looked at; before the new one was written the user was demoted, or deleted."""
    seen = web.accounts.user("bea")
    assert seen is not None
    web.accounts.change_user("bea", role="operator")
    demoted = web.accounts.change_password(seen, "new")
    kept = web.accounts.user("bea")
    web.accounts.delete_user("bea")

    assert demoted is None
    assert kept is not None
    assert (kept.role, kept.password_hash) == ("operator", HASH)
    assert web.accounts.change_password(kept, "new") is None
    assert web.accounts.user("bea") is None


def test_a_read_only_web_lets_people_change_their_own_password(redis_server: EmbeddedRedis) -> None:
    with Web(redis_server.url, read_only=True) as web:
        web.accounts.add_user("bea", HASH, "viewer")

        assert change(web, bea(web)).location == "/sessions"
        assert works(web, NEW)
