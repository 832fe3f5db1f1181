"""The pages on a real Redis: hostile text, outages, errors, the submit form, the order of lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.helpers import House, new_settings
from tests.integration.web_client import Web
from yadtq import DoNotRetry
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'onmouseover='alert(1)",
    "</code></title><svg onload=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u202egpj.exe\x00\x1b[31m",
]


@pytest.fixture
def web(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(**new_settings(kafka, redis_server)) as made:
        yield made


def echo(text: str, count: int = 1, *, loud: bool = False) -> str:
    """<b>Say</b> it again."""
    return (text.upper() if loud else text) * count


def refuse(text: str) -> None:
    raise DoNotRetry(text)


@pytest.fixture(scope="module")
def worked(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[tuple[Web, dict[str, str]]]:
    """An app, and tasks that a worker has run on hostile text: id -> the text."""
    with Web(**new_settings(kafka, redis_server)) as web, House(web.settings) as house:
        house.worker({"echo": echo, "refuse": refuse})
        ids = {house.client.submit(name, text): text for name in ("echo", "refuse") for text in HOSTILE}
        house.ended(list(ids))
        yield web, ids


def pages_of(ids: dict[str, str], worker: str) -> list[str]:
    one_each = [f"/tasks/{task_id}" for task_id in ids]
    lists = ["/", "/tasks", "/tasks?status=failed", "/tasks?status=success&order=oldest", "/workers"]
    return [*lists, f"/workers/{worker}", "/submit?task=echo", "/submit?mode=json", *one_each]


def test_hostile_text_is_text_on_every_page(worked: tuple[Web, dict[str, str]]) -> None:
    web, ids = worked
    client = web.signed_in("admin")
    worker = web.engine.views.workers()[0].id
    for path in pages_of(ids, worker):
        page = client.get(path)
        assert page.status_code == 200, path
        for harm in ("<script>alert", "<img", "<svg onload", "<b>Say", "49{%"):
            assert harm not in page.text, (path, harm)
        assert not [name for name in attributes(page.text) if name.startswith("on")], path


def attributes(page: str) -> set[str]:
    """The names of all attributes of a page, as a browser would read them."""
    names: set[str] = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            names.update(name for name, _ in attrs)

    Reader().feed(page)
    return names


def test_no_page_names_another_host_or_holds_inline_code(worked: tuple[Web, dict[str, str]]) -> None:
    web, ids = worked
    client = web.signed_in("admin")
    for path in [*pages_of(ids, web.engine.views.workers()[0].id), "/login", "/tasks/none"]:
        text = client.get(path).text
        assert not re.search(r'(src|href|action)="(https?:)?//', text), path
        assert " style=" not in text, path
        assert not re.search(r"<script(?![^>]* src=)", text), path


def test_lists_say_what_to_do_when_they_are_empty(web: Web) -> None:
    client = web.signed_in("admin")

    assert "No task yet" in client.get("/tasks").text
    assert "No task is failed now" in client.get("/tasks?status=failed").text
    assert "<code>yadtq worker MODULE</code>" in client.get("/workers").text
    assert "No worker is online." in client.get("/").text


def test_pages_are_walked_by_key_in_both_directions(web: Web) -> None:
    ids = web.engine.client.submit_many([("add", (n,)) for n in range(120)])
    client = web.signed_in("viewer")

    pages = [rows := client.get("/tasks").text]
    while older := re.search(r'href="([^"]+)">Older', rows):
        pages.append(rows := client.get(older[1].replace("&amp;", "&")).text)
    newer = re.search(r'href="([^"]+)"><svg[^>]*>.{0,80}?</svg>Newer', pages[1])
    assert newer
    back = client.get(newer[1].replace("&amp;", "&")).text

    assert [len(row_ids(page)) for page in pages] == [50, 50, 20]
    assert {task_id for page in pages for task_id in row_ids(page)} == set(ids)
    assert row_ids(back) == row_ids(pages[0])


def row_ids(page: str) -> list[str]:
    return re.findall(r'<tr id="t-(\w+)"', page)


def test_a_move_that_the_state_does_not_allow_is_told_on_the_page(web: Web) -> None:
    task_id = web.engine.client.options(delay=60).submit("add", 1)
    client = web.signed_in("operator")
    data = {"csrf_token": web.csrf_token(client), "next": "/tasks"}

    answer = client.post(f"/tasks/{task_id}/retry", data=data, follow_redirects=True)

    assert answer.status_code == 200
    assert answer.request.path == "/tasks"
    assert "can be retried" in answer.text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/tasks/nothing-like-it", 404, "Check the id"),
        ("/workers/nobody", 404, "No worker with this id"),
        ("/nowhere", 404, "There is no such page"),
        ("/tasks?status=lost", 400, "the states are scheduled, queued"),
        ("/logout", 405, "Not this way"),
    ],
)
def test_errors_are_pages_with_a_way_on(web: Web, path: str, status: int, words: str) -> None:
    answer = web.signed_in("viewer").get(path)

    assert answer.status_code == status
    assert words in answer.text
    assert 'class="nav"' in answer.text


def test_a_task_that_is_not_there_can_be_searched_for(web: Web) -> None:
    page = web.signed_in("viewer").get("/tasks/7f3a9c1f00ab").text

    assert "<h1>There is no task 7f3a9c1f00ab</h1>" in page
    assert '<a class="btn" href="/tasks?q=7f3a9c1f">' in page


def test_a_fault_of_ours_is_a_page_that_names_its_place_in_the_log(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> Any:
        raise RuntimeError("a secret of the code")

    client = web.signed_in("viewer")
    monkeypatch.setattr(web.engine.views, "counts", fault)

    answer = client.get("/")

    assert answer.status_code == 500
    assert "This page broke, your tasks did not" in answer.text
    fault = re.search(r"fault-[0-9a-f]{8}", answer.text)
    assert fault
    assert fault[0] in caplog.text
    assert "secret" not in answer.text


def test_with_redis_away_pages_say_so_and_the_process_stays_alive(redis_server: EmbeddedRedis) -> None:
    with Web(redis_server.url) as web:
        client = web.signed_in("viewer")
        web.engine.close()
        gone = Web("redis://127.0.0.1:9/0", secret_key=web.app.config["SECRET_KEY"])
        cookie = client.get_cookie(web.cookie_name)
        assert cookie
    stranger = gone.stranger()
    stranger.set_cookie(web.cookie_name, cookie.value)

    page = stranger.get("/tasks")
    ready = stranger.get("/readyz")

    assert page.status_code == 503
    assert "<b>Redis is down.</b>" in page.text
    assert "data-until-ready" in page.text
    assert "Traceback" not in page.text
    assert (ready.status_code, list(ready.get_json())) == (503, ["error"])
    assert stranger.get("/healthz").status_code == 200
    assert stranger.get("/login").status_code == 200
