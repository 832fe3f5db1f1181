"""How long a change takes from Redis to the browser: 50 live pages and 1,000 changes a second on one machine.

``python benchmarks/live.py [--sockets 50] [--rate 1000] [--seconds 15]``; needs a Chromium on PATH for its last column.
Changes are real moves (cancel and retry). Each is timed from before its call to the arrival of its row, or of a newer
one, at every page that shows the task.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from bisect import bisect_left
from collections import defaultdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import aiohttp
from playwright.sync_api import sync_playwright

from yadtq.config import load_settings
from yadtq.core.yadtq_accounts import Accounts
from yadtq.core.yadtq_result_db import NewTask, ResultStore
from yadtq.core.yadtq_views import Views
from yadtq.embedded import EmbeddedRedis

PORT, PREFIX, SCREEN = 8765, "live:", 50
URL = f"http://127.0.0.1:{PORT}"
BATCH = 10  # changes a call
ROW = re.compile(r'<tr id="t-([^"]+)"[^>]*? data-rev="(\d+)"')
WATCH = """() => { window.seen = []; new MutationObserver((all) => all.forEach(({ target: row }) =>
  row.dataset.rev && window.seen.push([row.id.slice(2), Number(row.dataset.rev), Date.now() / 1000])
)).observe(document.querySelector("#rows tbody"), { subtree: true, attributes: true, attributeFilter: ["data-rev"] }) }"""

Arrivals = dict[str, list[tuple[int, float]]]  # id -> (change, when), ascending


def listen(cookie: str, shows: list[list[str]], mark: tuple[str, int], ready: Any, results: Any) -> None:
    """A process of its own: so many sockets, each for a page with these rows, until the server hangs up."""

    async def page(http: aiohttp.ClientSession, ids: list[str], open_now: Any) -> Arrivals:
        arrivals: Arrivals = defaultdict(list)
        query = {"view": "tasks", "since": str(mark[1]), "epoch": mark[0]}
        while True:  # one process may be full while the other is not
            try:
                socket = await http.ws_connect(f"{URL}/ws", params=query, compress=0)
                break
            except aiohttp.WSServerHandshakeError:
                await asyncio.sleep(0.2)
        await socket.send_str(json.dumps({"shows": ids, "new": False}))
        open_now()
        async for message in socket:
            now, told = time.time(), json.loads(message.data)
            for item in told.get("items", ()):
                arrivals[item["id"]].append((item["rev"], now))
        return arrivals

    async def all_pages() -> None:
        count = iter(range(1, len(shows) + 1))
        headers = {"Cookie": cookie, "Origin": URL}
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as http:
            opened = [page(http, ids, lambda: next(count) == len(shows) and ready.set()) for ids in shows]
            results.put(await asyncio.gather(*opened))

    asyncio.run(all_pages())


def change(store: ResultStore, ids: list[str], rate: int, seconds: float) -> list[tuple[str, int, float]]:
    """Changes at this rate: (task, change number, just before the call)."""
    made: list[tuple[str, int, float]] = []
    chance, cancelled = random.Random(1), set[str]()
    began = time.time()
    for number in range(int(rate * seconds / BATCH)):
        time.sleep(max(0.0, began + number * BATCH / rate - time.time()))
        some = chance.sample(ids, BATCH)
        off, on = [i for i in some if i not in cancelled], [i for i in some if i in cancelled]
        before = time.time()
        store.cancel_many(off, store.time_ms())
        store.retry_many((task_id, b"") for task_id in on)
        cancelled = (cancelled | set(off)) - set(on)
        pipe = store.client.pipeline(transaction=False)
        for task_id in some:
            pipe.hget(store.key("t:", task_id), "seq")
        made += [(task_id, int(seq), before) for task_id, seq in zip(some, pipe.execute(), strict=True)]
    return made


def delays(made: list[tuple[str, int, float]], arrivals: Arrivals, shown: set[str]) -> list[float]:
    """Milliseconds of each change that this page shows; one that never came counts as a minute."""
    found = []
    for task_id, seq, before in made:
        if task_id in shown:
            came = arrivals.get(task_id, [])
            at = bisect_left(came, (seq, 0.0))
            found.append((came[at][1] - before) * 1000 if at < len(came) else 60_000.0)
    return found


def sign_in(accounts: Accounts) -> str:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    token = accounts.create_login_link("bench", "viewer")
    page = opener.open(f"{URL}/login?token={token}").read().decode()
    csrf = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert csrf
    opener.open(f"{URL}/login/link", f"token={token}&csrf_token={csrf[1]}".encode()).read()
    jar = next(h for h in opener.handlers if isinstance(h, urllib.request.HTTPCookieProcessor)).cookiejar
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)


def browser_page(cookie: str, started: threading.Event, ended: threading.Event, found: list[Any]) -> None:
    """One real Chromium on the list; what its table showed, and when."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        started.set()
        return
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = chromium.new_page(extra_http_headers={"Cookie": cookie})
        page.goto(f"{URL}/tasks")
        page.wait_for_selector('#live[data-live="live"]')
        page.evaluate(WATCH)
        started.set()
        while not ended.is_set():
            page.wait_for_timeout(200)
        found += page.evaluate("window.seen")
        chromium.close()


def cpu(pids: list[int]) -> float:
    """Seconds of processor time."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def measure(
    name: str, store: ResultStore, web: Any, redis_pid: int, shows: list[list[str]], ids: list[str], args: Any
) -> None:
    cookie, views = sign_in(Accounts(store)), Views(store)
    mark = views.change_mark()
    context = get_context("spawn")
    ready, results = context.Event(), context.Queue()
    listener = context.Process(target=listen, args=(cookie, shows, (mark.epoch, mark.seq), ready, results))
    listener.start()
    started, ended, seen = threading.Event(), threading.Event(), list[Any]()
    browser = threading.Thread(target=browser_page, args=(cookie, started, ended, seen))
    browser.start()
    assert ready.wait(60)
    started.wait(60)
    pids = children(web.pid)
    before, redis_before, began = cpu(pids), cpu([redis_pid]), time.time()
    made = change(store, ids, args.rate, args.seconds)
    took = time.time() - began
    web_share, redis_share = (cpu(pids) - before) / took, (cpu([redis_pid]) - redis_before) / took
    time.sleep(2)
    ended.set()
    browser.join(30)
    web.send_signal(1)  # HUP: the sockets are closed, and the listener hands over what it has
    arrivals = results.get(timeout=60)
    listener.join(30)
    all_delays = [d for got, shown in zip(arrivals, shows, strict=True) for d in delays(made, got, set(shown))]
    in_browser: Arrivals = defaultdict(list)
    for task_id, seq, at in seen:
        in_browser[task_id].append((seq, at))
    real = delays(made, in_browser, {task.id for task in views.tasks(limit=SCREEN).items}) if seen else []
    cells = [name, len(shows), f"{len(made) / took:,.0f}", f"{len(all_delays):,}", *_percentiles(all_delays)]
    print(
        f"| {' | '.join(map(str, [*cells, _percentiles(real)[1], f'{web_share:.2f}', f'{redis_share:.2f}']))} |",
        flush=True,
    )
    while set(pids) & set(children(web.pid)):  # for the next measurement: the old processes take a moment to end
        time.sleep(0.2)


def _percentiles(values: list[float]) -> list[str]:
    if len(values) < 2:
        return ["–"] * 3
    cuts = statistics.quantiles(values, n=100)
    return [f"{cuts[n - 1]:.0f} ms" for n in (50, 95, 99)]


def fill(store: ResultStore, count: int) -> list[str]:
    ids = [f"{number:024x}" for number in range(count)]
    for start in range(0, count, 500):
        bodies = [
            (i, json.dumps({"v": 1, "id": i, "name": "add", "args": [1], "kwargs": {}, "opts": {}}))
            for i in ids[start : start + 500]
        ]
        store.enqueue([NewTask(i, "add", "default", b"none\n" + body.encode(), "[[1],{}]", "") for i, body in bodies])
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sockets", type=int, default=50)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder), port=0) as redis:
        store = ResultStore(load_settings({}, redis_url=redis.url, redis_prefix=PREFIX))
        ids = fill(store, 20 * SCREEN)
        ours = {
            "KAFKA_SERVERS": "127.0.0.1:1",
            "REDIS_URL": redis.url,
            "REDIS_PREFIX": PREFIX,
            "WEB_PORT": str(PORT),
            "WEB_URL": URL,
        }
        environment = {**os.environ, **{f"YADTQ_{name}": value for name, value in ours.items()}}
        command = [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "--log-level", "error", "wsgi:app"]
        web = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        for _ in range(200):
            time.sleep(0.1)
            try:
                urllib.request.urlopen(f"{URL}/readyz").read()
                break
            except OSError:
                pass
        try:
            compare(store, web, redis, ids, args)
        finally:
            web.terminate()
            web.wait(20)
            store.close()


def compare(store: ResultStore, web: Any, redis: EmbeddedRedis, ids: list[str], args: Any) -> None:
    """The table."""
    print("| changes | pages | changes a second | measured | p50 | p95 | p99 | p95 in Chromium | cores: web | Redis |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    spread = [ids[n % 20 * SCREEN :][:SCREEN] for n in range(args.sockets)]
    one_screen = [ids[-SCREEN:]] * args.sockets
    assert redis.pid is not None
    measure("over 1,000 tasks, 50 on each page", store, web, redis.pid, spread, ids, args)
    measure("all on the 50 tasks that all pages show", store, web, redis.pid, one_screen, ids[-SCREEN:], args)


if __name__ == "__main__":
    main()
