"""What the pages cost the server with a short and with a long history in Redis: `python -m benchmarks.pages --help`.

Each page is asked for through the whole application, by somebody who is signed in; times are of the server, from request
to the last byte. A page fails that takes over 50 ms at the median, or over twice what it takes with the short history.
A search for few among the failed finds 50 rows in the long history, and 3 in the short one; so it is held against the list
of the failed, which shows as many. Likewise a search of their groups, of which there are 360 and 100.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flask.testing import FlaskClient

from benchmarks.history import fill
from webapp import create_app
from webapp.engine import Engine
from yadtq import create_yadtq
from yadtq.core.yadtq_task import TaskStatus
from yadtq.embedded import EmbeddedRedis

BUDGET = 50.0  # ms at the median
GROWTH = 2.0  # times the same page with the short history
HELD_AGAINST = {
    "/tasks?q=name:app.task_7+status:failed": "/tasks?status=failed",
    "/failed?q=name:task_7": "/failed",
    "/failed?q=error:nowhere": "/failed",
}
PAGES = [
    "/",
    "/?span=24h",
    "/?span=7d",
    "/tasks",
    *(f"/tasks?status={status}" for status in TaskStatus),
    "/tasks?q=name:task_7",
    "/tasks?q=status:failed",
    "/tasks?q=error:nowhere",
    "/failed",
    "/failed?order=oldest",
    "/failed?order=most",
    "/api/v1/suggestions?word=name:task",
    *HELD_AGAINST,
]


@dataclass(frozen=True)
class Figure:
    """One page's times in ms: with the short history, or what else it is held against, and with the long one."""

    page: str
    short: float
    long: float
    long_p95: float

    @property
    def holds(self) -> bool:
        """Whether it is within the budget."""
        return self.long < BUDGET and self.long < GROWTH * self.short


@contextmanager
def browser(finished: int, failed: int) -> Iterator[FlaskClient]:
    """Somebody signed in to an application whose Redis holds this history."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder), port=0) as redis:
        _, store = create_yadtq(kafka_servers="localhost:1", redis_url=redis.url)
        fill(store, finished, failed)
        store.close()
        app = create_app(kafka_servers="localhost:1", redis_url=redis.url)
        engine: Engine = app.extensions["yadtq"]
        yield signed_in(app.test_client(), engine)
        engine.close()


def signed_in(client: FlaskClient, engine: Engine) -> FlaskClient:
    token = engine.accounts.create_login_link("bench", "admin")
    form = client.get("/login", query_string={"token": token}).text
    found = re.search(r'name="csrf_token" value="([^"]+)"', form)
    assert found, "the sign-in page has no form"
    client.post("/login/link", data={"token": token, "csrf_token": found[1]})
    return client


def timed(client: FlaskClient, times: int) -> dict[str, list[float]]:
    """Every page's times in ms, sorted; each round asks for all pages, so that a slow moment hits them alike."""
    found: dict[str, list[float]] = {page: [] for page in PAGES}
    for turn in range(times + 1):
        for page in PAGES:
            started = time.perf_counter()
            answer = client.get(page)
            answer.get_data()
            if turn:  # the first compiles the templates
                found[page].append((time.perf_counter() - started) * 1000)
            assert answer.status_code == 200, f"{page} answered {answer.status}"
    return {page: sorted(times) for page, times in found.items()}


def measure(short: tuple[int, int], long: tuple[int, int], times: int) -> list[Figure]:
    with browser(*short) as client:
        before = timed(client, times)
    with browser(*long) as client:
        after = timed(client, times)
    before |= {page: after[other] for page, other in HELD_AGAINST.items()}
    return [
        Figure(page, statistics.median(before[page]), statistics.median(ms), ms[int(len(ms) * 0.95)])
        for page, ms in after.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--failed", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=30, help="how often each page is asked for")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = measure((900, 100), (options.finished, options.failed), options.times)
    for one in figures:
        if options.json:
            print(json.dumps({**vars(one), "holds": one.holds}))
        else:
            against = f"{one.long:7.2f} ms ({one.long / one.short:4.2f} times, p95 {one.long_p95:7.2f} ms)"
            print(f"{one.page:40} {one.short:7.2f} ms -> {against}{'' if one.holds else '   OVER BUDGET'}")
    if slow := [one.page for one in figures if not one.holds]:
        raise SystemExit(f"{len(slow)} pages are over their budget: {', '.join(slow)}")


if __name__ == "__main__":
    main()
