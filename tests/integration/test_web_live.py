"""The websocket under a real gunicorn: what it says, and how each connection ends."""

from __future__ import annotations

import html
import http.client
import json
import select
import socket as socket_module
import time
from collections.abc import Iterator
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener, urlopen

import pytest
import simple_websocket

from tests.helpers import eventually, new_settings
from tests.integration.web_client import find_csrf_token
from tests.integration.web_stack import Stack
from tests.integration.web_tight import LIMIT
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
    assert item["html"].startswith(f'<tr id="t-{task_id}" ')
    assert f'data-rev="{item["rev"]}" data-status="queued"' in item["html"]
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

    told = hear(socket, "resync")
    mark = stack.views.change_mark()
    assert (told["epoch"], told["seq"]) == (mark.epoch, mark.seq)
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


def test_a_socket_is_heard_at_once_so_that_a_page_knows_it_works(stack: Stack) -> None:
    socket = connect(stack)

    assert json.loads(socket.receive(timeout=2)) == {"t": "tick"}
    socket.close()


def test_a_page_says_what_it_shows_and_is_sent_no_more(stack: Stack) -> None:
    shown, other = stack.client.submit("add", 1), stack.client.submit("add", 2)
    socket = connect(stack)
    socket.send(json.dumps({"shows": [shown], "new": False}))
    socket.send("nothing that means anything")
    socket.send(json.dumps({"shows": [shown], "new": False, "again": True}))
    eventually(lambda: ids_in(hear(socket, "rows")) == [shown])
    while socket.receive(timeout=1):  # the submits may still have been under way
        pass

    stack.client.cancel(other)
    assert ids_in(hear(socket, "rows")) == []
    stack.client.cancel(shown)
    assert ids_in(hear(socket, "rows")) == [shown]
    socket.close()


def ids_in(message: dict[str, Any]) -> list[str]:
    return [item["id"] for item in message["items"]]


def test_a_revoked_session_loses_its_socket(stack: Stack) -> None:
    cookie, others = cookie_of(stack), connect(stack)
    socket = connect(stack, cookie)
    hear(socket, "tick")
    sign_out(stack, cookie)

    assert closing_code(socket, 10) == 4401  # looked at every 5 seconds
    hear(others, "tick")
    others.close()


# -- limits, on a server whose limits are close


@pytest.fixture(scope="module")
def tight(settings: dict[str, Any]) -> Iterator[Stack]:
    made = Stack(settings, app="tests.integration.web_tight:app", GUNICORN_CMD_ARGS="--workers 1")
    made.client.submit("add", 0)
    yield made
    made.stop()


def test_one_socket_too_many_is_told_to_ask_instead_and_pages_go_on(tight: Stack) -> None:
    """Also where each has been drawn the rows that it missed, which once gave its place to others."""
    mark = tight.views.change_mark()
    tight.client.submit("add", 1)
    sockets = [connect(tight, since=mark.seq, epoch=mark.epoch) for _ in range(LIMIT)]
    for socket in sockets:
        hear(socket, "rows")
        hear(socket, "tick")

    status, text = handshake(tight)

    assert status == 503
    assert "All live connections of this process are in use; the page asks every 2 seconds instead." in text
    with urlopen(f"{tight.url}/readyz", timeout=2) as page:
        assert page.status == 200
    sockets.pop().close()
    again = eventually(lambda: connects(tight))
    for socket in [*sockets, again]:
        socket.close()


def test_a_browser_that_stops_reading_is_dropped_and_its_thread_is_free(tight: Stack) -> None:
    ids = [task.id for task in (tight.client.get_result(tight.client.submit("add", n)) for n in range(40))]
    deaf = eventually(lambda: raw_socket(tight))  # the sockets of the test before hold their slots for a moment
    reading = eventually(lambda: connects(tight))
    hear(reading, "tick")
    started = time.monotonic()
    gone_at = None
    while time.monotonic() - started < 15 and gone_at is None:
        for task_id in ids:  # each round is 40 rows for whoever reads
            tight.client.cancel(task_id)
            tight.client.retry(task_id)
        if is_reset(deaf):
            gone_at = time.monotonic()

    assert gone_at is not None, "it still holds its thread"
    assert hear(reading, "rows")
    reading.close()
    deaf.close()


def test_an_app_loaded_before_the_fork_is_live_in_each_process(settings: dict[str, Any]) -> None:
    stack = Stack(settings, GUNICORN_CMD_ARGS="--preload")
    sockets = [connect(stack) for _ in range(6)]

    task_id = stack.client.submit("add", 1)

    for socket in sockets:
        assert task_id in [item["id"] for item in hear(socket, "rows")["items"]]
        socket.close()
    stack.stop()


def sign_out(stack: Stack, cookie: str) -> None:
    """As another tab of the same browser."""
    with build_opener().open(Request(stack.url, headers={"Cookie": cookie})) as page:
        form = urlencode({"csrf_token": find_csrf_token(page.read().decode())}).encode()
    headers = {"Cookie": cookie, "Referer": f"{stack.url}/"}
    with build_opener().open(Request(f"{stack.url}/logout", form, headers=headers)):
        pass


def connects(stack: Stack) -> simple_websocket.Client | None:
    try:
        return connect(stack)
    except simple_websocket.ConnectionError:
        return None


def upgrade(stack: Stack) -> dict[str, str]:
    return {
        "Host": f"127.0.0.1:{stack.port}",
        "Cookie": cookie_of(stack),
        "Origin": stack.url,
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }


def handshake(stack: Stack) -> tuple[int, str]:
    """What a handshake is answered in plain HTTP."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    connection.request("GET", "/ws?view=tasks", headers=upgrade(stack))
    answer = connection.getresponse()
    text = html.unescape(answer.read().decode())
    connection.close()
    return answer.status, text


def raw_socket(stack: Stack) -> socket_module.socket | None:
    """A websocket with a small buffer that nobody reads, on the list of all tasks; None where there is no slot for it."""
    mark = stack.views.change_mark()
    query = urlencode({"view": "tasks", "since": mark.seq, "epoch": mark.epoch})
    made = socket_module.socket()
    made.setsockopt(socket_module.SOL_SOCKET, socket_module.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", stack.port))
    lines = [f"GET /ws?{query} HTTP/1.1", *(f"{name}: {value}" for name, value in upgrade(stack).items())]
    made.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    if b"101" in made.recv(64):
        return made
    made.close()
    return None


def is_reset(deaf: socket_module.socket) -> bool:
    """Whether the server has cut the connection, without reading from it."""
    poll = select.poll()
    poll.register(deaf, select.POLLHUP | select.POLLERR)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(50))
