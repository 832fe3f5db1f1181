"""What goes over the wire of a websocket, byte by byte, under a real gunicorn."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import new_settings
from tests.integration.test_web_live import upgrade
from tests.integration.web_stack import ROOT, Stack
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

TEXT = 0x81  # the first byte of a whole text frame that is not compressed


@pytest.fixture(scope="module")
def settings(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> dict[str, Any]:
    return new_settings(kafka, redis_server)


@pytest.fixture
def new_stack(settings: dict[str, Any]) -> Iterator[Any]:
    made: list[Stack] = []

    def start(app: str = "wsgi:app", log: Path | None = None) -> Stack:
        made.append(Stack(settings, app, log))
        return made[-1]

    yield start
    for stack in made:
        stack.stop()


def opened(stack: Stack) -> socket.socket:
    """A connection that has asked for a websocket, with compression."""
    lines = {**upgrade(stack), "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    line = socket.create_connection(("127.0.0.1", stack.port), timeout=10)
    line.sendall(f"GET /ws?view=tasks HTTP/1.1\r\n{head}\r\n".encode())
    return line


def read(line: socket.socket, until: bytes | None = None) -> bytes:
    """What comes, to the end or to these bytes and one more."""
    said = b""
    while until is None or said.partition(until)[2] == b"":
        more = line.recv(4096)
        if not more:
            break
        said += more
    return said


def test_compression_is_refused_however_it_is_asked_for(new_stack: Any) -> None:
    with opened(new_stack()) as line:
        head, _, frames = read(line, b"\r\n\r\n").partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in head.lower()
    assert frames[0] == TEXT


def test_an_error_in_a_handler_is_not_written_into_the_open_socket(new_stack: Any) -> None:
    with opened(new_stack("tests.integration.web_faulty:app")) as line:
        head, _, rest = read(line).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"HTTP/1." not in rest
    assert b"fault" not in rest


def test_who_is_gone_before_the_first_message_leaves_no_traceback(new_stack: Any, tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    stack = new_stack("tests.integration.web_gone:app", log)
    for _ in range(3):
        with opened(stack) as line:
            read(line)
    stack.stop()
    assert "Booting worker" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_no_web_process_retires_and_drops_its_sockets(settings: dict[str, Any], redis_server: EmbeddedRedis) -> None:
    environment = {**os.environ, "YADTQ_REDIS_URL": redis_server.url, "YADTQ_REDIS_PREFIX": settings["redis_prefix"]}
    command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "--print-config", "wsgi:app"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)

    effective = dict(re.findall(r"^(\w+)\s+= (.*)$", shown.stdout, re.MULTILINE))
    assert effective["max_requests"] == "0"
