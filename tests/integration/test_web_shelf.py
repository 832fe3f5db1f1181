"""Many browsers that read a live page again at once: one rendering serves all who may see the same, and nobody else."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest
from flask import before_render_template, template_rendered
from flask.testing import FlaskClient

from tests.helpers import eventually
from tests.integration.stored import announce, end, submit_whole
from tests.integration.web_client import Web
from tests.model.world import World
from yadtq.embedded import EmbeddedRedis

LIVE_PAGES = ("/", "/tasks", "/tasks?status=failed", "/tasks/a", "/workers", "/workers/w")


@pytest.fixture
def web(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url) as made:
        world = world_of(made)
        announce(world, "w")
        submit_whole(world, "a", "b")
        end(world, "a")
        yield made


@pytest.fixture
def rendered(web: Web) -> Iterator[list[str]]:
    """The pages that were rendered, by their templates."""
    names: list[str] = []

    def note(_: object, template: object, **__: object) -> None:
        names.append(template.name)  # type: ignore[attr-defined]

    with template_rendered.connected_to(note, web.app):
        yield names


def world_of(web: Web) -> World:
    return World(web.settings["redis_url"], web.settings["redis_prefix"])


def read(web: Web, client: FlaskClient, path: str = "/tasks", seq: int = 0) -> str:
    """As app.js reads a page again that is to show at least this change."""
    mark = web.engine.views.change_mark()
    answer = client.get(path, headers={"Live-Mark": f"{mark.epoch} {seq}"})
    assert answer.status_code == 200
    return answer.text


def test_fifty_pages_that_ask_at_once_are_served_by_one_rendering(web: Web, rendered: list[str]) -> None:
    people = [web.signed_in("viewer") for _ in range(10)]
    rendered.clear()
    release, got = threading.Barrier(10), list[str]()

    def ask(client: FlaskClient) -> None:
        release.wait()
        got.append(read(web, client))

    def dawdle(*_: object, **__: object) -> None:
        time.sleep(0.2)  # a page that takes its time, so that all others come while it is made

    with before_render_template.connected_to(dawdle, web.app):
        threads = [threading.Thread(target=ask, args=[client]) for client in people]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert len(got) == 10
    assert len(set(got)) == 1
    assert rendered.count("tasks.html") == 1


def test_a_reading_shows_the_change_it_was_asked_for(web: Web, rendered: list[str]) -> None:
    client = web.signed_in("viewer")
    assert 'data-status="queued"' in read(web, client)
    world_of(web).cancel_many(["b"], 0)

    page = read(web, client, seq=web.engine.views.change_mark().seq)

    assert 'id="t-b" ' in page
    assert 'data-status="cancelled"' in page


def test_a_reading_of_an_earlier_redis_is_not_handed_out(web: Web, rendered: list[str]) -> None:
    client = web.signed_in("viewer")
    rendered.clear()
    read(web, client)
    client.get("/tasks", headers={"Live-Mark": "another 0"})

    assert rendered.count("tasks.html") == 2


def test_a_fault_keeps_nobody_waiting(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    client = web.signed_in("viewer")
    with monkeypatch.context() as patch:
        patch.setattr(web.engine.views, "workers", lambda: 1 / 0)
        assert client.get("/workers", headers={"Live-Mark": "x 0"}).status_code == 500
    started = time.monotonic()

    assert "Workers" in read(web, client, "/workers")
    assert time.monotonic() - started < 1


def test_roles_do_not_share_readings(web: Web) -> None:
    assert "formaction" in read(web, web.signed_in("operator"), "/tasks/a")
    assert "formaction" not in read(web, web.signed_in("viewer"), "/tasks/a")


def test_a_reading_holds_nothing_of_the_person_who_caused_it(web: Web) -> None:
    one, other = web.signed_in("operator"), web.stranger()
    web.redeem(other, web.accounts.create_login_link("grace", "operator", 60))

    eventually(web.engine.alarms.current, 20)  # that Kafka is away: one page with it and one without would differ
    time.sleep(1.1)
    pages = {path: read(web, one, path) for path in LIVE_PAGES}
    time.sleep(0.6)  # handed out no more: the next ones are made for somebody else
    for path, page in pages.items():
        assert "ada" not in page, path
        assert 'name="csrf_token" value=""' in page or "csrf_token" not in page, path
        assert untimed(page) == untimed(read(web, other, path)), path


def untimed(page: str) -> list[str]:
    """The page without times and one-time keys."""
    page = re.sub(r"\b[0-9a-f]{32}\b|\b[0-9.]+ (s|min)\b", "", page)
    return [line for line in page.splitlines() if not re.search("<time|data-now|data-seq", line)]


def test_messages_wait_for_the_page_they_are_meant_for(web: Web) -> None:
    client = web.signed_in("operator")
    client.post("/tasks/b/cancel", data={"csrf_token": web.csrf_token(client), "next": "/tasks"})

    assert "It is cancelled." not in read(web, client)
    assert "It is cancelled." in client.get("/tasks").text


def test_pages_that_are_not_live_are_made_for_each(web: Web, rendered: list[str]) -> None:
    client = web.signed_in("operator")
    rendered.clear()
    for _ in range(2):
        assert client.get("/submit", headers={"Live-Mark": "x 0"}).status_code == 200

    assert rendered.count("submit.html") == 2
