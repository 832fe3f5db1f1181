"""The handlers of docs/guarantees.md, word for word, run again after their effect by a real worker: the effect is there once."""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import House
from yadtq import DoNotRetry, TaskStatus

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"

# The handler, whose process ends right after it the first time: Redis never hears of that run.
DYING = """
import os
from pathlib import Path

from {module} import {name}


def dies_once(*args, ctx):
    value = {name}(*args, ctx=ctx)
    died = Path("died-" + ctx.task_id)
    if not died.exists():
        died.touch()
        os._exit(9)
    return value
"""


def examples() -> dict[str, str]:
    """The page's modules, by the names in their first lines."""
    blocks = re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(blocks)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the page's modules, which this process and its children are in."""
    for name, text in examples().items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    with House(fresh_settings(time_scale=0.1, partitions=1)) as house:
        yield house


def run_twice(house: House, folder: Path, module: str, name: str, *args: Any) -> Any:
    """The result of the run after the one that died."""
    dying = f"dying_{name}"
    (folder / f"{dying}.py").write_text(DYING.format(module=module, name=name))
    handlers = {name: importlib.import_module(dying).dies_once}
    house.worker(handlers, pool="process", concurrency=1)
    result = house.client.wait_for_result(house.client.submit(name, *args), timeout=60)
    assert (result.status, result.lost) == (TaskStatus.SUCCESS, 1)  # the first run died after its effect
    return result.result


def test_every_example_is_tried() -> None:
    assert set(examples()) == {"shop_sql", "shop_http", "shop_fence"}


def test_an_effect_in_one_transaction_with_the_tasks_id_is_there_once(house: House, folder: Path) -> None:
    with sqlite3.connect(folder / "shop.db") as db:
        db.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, cents INTEGER)")
        db.execute("CREATE TABLE charges (task_id TEXT PRIMARY KEY)")
        db.execute("INSERT INTO accounts VALUES ('ada', 1000)")
    assert run_twice(house, folder, "shop_sql", "charge", "ada", 300) == 700
    with sqlite3.connect(folder / "shop.db") as db:
        assert db.execute("SELECT cents FROM accounts").fetchall() == [(700,)]


class Bank(BaseHTTPRequestHandler):
    """Keeps what it has done by the key that came with it, as such services do."""

    paid: dict[str, int]
    asked: int

    def do_POST(self) -> None:
        cents = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["cents"]
        cls = type(self)
        cls.asked += 1
        number = cls.paid.setdefault(self.headers["Idempotency-Key"], len(cls.paid) + 1)
        body = json.dumps({"payment": number, "cents": cents}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


def test_an_outside_service_that_is_given_the_tasks_id_does_it_once(house: House, folder: Path) -> None:
    Bank.paid, Bank.asked = {}, 0
    with HTTPServer(("127.0.0.1", 0), Bank) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}/"
            assert run_twice(house, folder, "shop_http", "pay", url, 300) == {"payment": 1, "cents": 300}
        finally:
            server.shutdown()
            thread.join()
    assert (len(Bank.paid), Bank.asked) == (1, 2)


@pytest.mark.usefixtures("folder")
def test_a_store_that_keeps_the_highest_fence_refuses_a_run_that_comes_late(house: House) -> None:
    report = importlib.import_module("shop_fence").report
    contexts: list[Any] = []

    def fails_first(url: str, text: str, *, ctx: Any) -> Any:
        contexts.append(ctx)
        if ctx.attempt == 1:
            raise ValueError("before it had written anything")
        return report(url, text, ctx=ctx)

    house.worker({"report": fails_first}, concurrency=1)
    url = house.settings["redis_url"]
    task_id = house.client.options(retries=1).submit("report", url, "new")
    result = house.client.wait_for_result(task_id, timeout=60)
    assert (result.status, result.result) == (TaskStatus.SUCCESS, f"report:{task_id}")
    first, second = contexts
    with pytest.raises(DoNotRetry, match="a later run"):
        report(url, "old", ctx=first)  # as a worker that was stopped and goes on would call it
    assert house.redis.hget(f"report:{task_id}", "text") == "new"
    assert report(url, "new again", ctx=second)  # the same run may write twice
    house.redis.delete(f"report:{task_id}")
