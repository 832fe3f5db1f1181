"""The websocket under a real gunicorn: what it says, and how each connection ends."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
import simple_websocket

from tests.helpers import eventually, new_settings
from tests.integration.web_client import find_csrf_token
from tests.integration.web_stack import Stack
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis


@pytest.fixture(scope="module")
def settings(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> dict[str, Any]:
    return new_settings(kafka, redis_server)


@pytest.fixture(scope="module")
def stack(settings: dict[str, Any]) -> Iterator[Stack]:
    made = Stack(settings)
    made.client.submit("add", 0)  # the first change of all is told as a new epoch, not as a row
    yield made
    made.stop()


def cookie_of(stack: Stack, role: str = "viewer") -> str:
    """The cookie header of a browser that has just signed in by a link."""
    jar = CookieJar()
    browser = build_opener(HTTPCookieProcessor(jar))
    token = stack.accounts.create_login_link("ada", role, 60)
    with browser.open(f"{stack.url}/login?token={token}") as page:
        data = {"token": token, "csrf_token": find_csrf_token(page.read().decode())}
    with browser.open(f"{stack.url}/login/link", urlencode(data).encode()):
        pass
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)


def connect(stack: Stack, cookie: str | None = None, **query: Any) -> simple_websocket.Client:
    mark = stack.views.change_mark()
    asked = {"view": "tasks", "since": mark.seq, "epoch": mark.epoch, **query}
    headers = {"Cookie": cookie or cookie_of(stack), "Origin": stack.url}
    return simple_websocket.Client.connect(f"{stack.url.replace('http', 'ws')}/ws?{urlencode(asked)}", headers=headers)


def hear(socket: simple_websocket.Client, kind: str, timeout: float = 10) -> dict[str, Any]:
    """The next message of a kind."""
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        text = socket.receive(timeout=left)
        message: dict[str, Any] = json.loads(text) if text else {}
        if message.get("t") == kind:
            return message
    raise AssertionError(f"no {kind} within {timeout} s")


def closing_code(socket: simple_websocket.Client, timeout: float = 10) -> int:
    deadline = time.monotonic() + timeout
    try:
        while (left := deadline - time.monotonic()) > 0:
            socket.receive(timeout=left)
    except simple_websocket.ConnectionClosed as closed:
        return int(closed.reason)
    raise AssertionError(f"still open after {timeout} s")


def test_a_change_comes_as_the_row_the_page_would_draw(stack: Stack) -> None:
    socket = connect(stack)

    task_id = stack.client.submit("add", 1)

    message = hear(socket, "rows")
    [item] = [item for item in message["items"] if item["id"] == task_id]
    assert item["html"].startswith(f'<tr id="t-{task_id}" data-rev="{item["rev"]}" data-status="queued"')
    assert "csrf_token" not in item["html"]
    assert message["seq"] >= item["rev"]
    assert message["counts"]["queued"] >= 1
    socket.close()


def test_who_was_away_is_told_what_he_missed(stack: Stack) -> None:
    mark = stack.views.change_mark()
    task_id = stack.client.submit("add", 1)

    socket = connect(stack, since=mark.seq, epoch=mark.epoch)

    assert task_id in [item["id"] for item in hear(socket, "rows")["items"]]
    socket.close()


def test_a_page_from_before_redis_was_emptied_is_told_to_read_itself_again(stack: Stack) -> None:
    stack.client.submit("add", 1)
    socket = connect(stack, epoch="another")

    assert hear(socket, "resync") == {"t": "resync"}
    socket.close()


def test_the_page_of_one_task_hears_of_that_task_alone(stack: Stack) -> None:
    mine = stack.client.options(delay=600).submit("add", 1)
    lists, socket = connect(stack), connect(stack, view="task", subject=mine)
    hear(lists, "tick")  # both are up to date
    hear(socket, "tick")

    stack.client.submit("add", 2)
    hear(lists, "rows")
    stack.client.cancel(mine)

    heard = [json.loads(socket.receive(timeout=10))["t"]]
    assert heard == ["refresh"]
    assert socket.receive(timeout=0.5) is None
    lists.close()
    socket.close()


def test_a_foreign_origin_gets_403_from_the_real_server(stack: Stack) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    headers = {
        "Cookie": cookie_of(stack),
        "Origin": "http://evil.example",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    connection.request("GET", "/ws?view=tasks", headers=headers)
    answer = connection.getresponse()

    assert answer.status == 403
    connection.close()


def test_who_talks_too_much_is_put_out(stack: Stack) -> None:
    socket = connect(stack)
    for _ in range(30):
        socket.send("and another thing")

    assert closing_code(socket) == 1008


def test_a_message_too_long_is_not_read(stack: Stack) -> None:
    socket = connect(stack)
    socket.send("x" * 70_000)

    assert closing_code(socket) == 1009


def test_a_stopping_server_says_that_it_will_be_back(settings: dict[str, Any]) -> None:
    stack = Stack(settings)
    sockets = [connect(stack, cookie_of(stack)) for _ in range(6)]
    started = time.monotonic()

    stack.web.terminate()

    assert [closing_code(socket) for socket in sockets] == [1012] * 6
    assert time.monotonic() - started < 2
    stack.stop()
    assert stack.web.returncode == 0


def test_a_reload_moves_the_sockets_and_serves_on(settings: dict[str, Any]) -> None:
    stack = Stack(settings)
    cookie = cookie_of(stack)
    socket = connect(stack, cookie)
    started = time.monotonic()

    stack.reload()

    assert closing_code(socket) == 1012
    assert time.monotonic() - started < 3
    again = eventually(lambda: connect(stack, cookie))
    stack.client.submit("add", 1)
    assert hear(again, "rows")
    again.close()
    stack.stop()
