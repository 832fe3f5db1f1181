"""The pages of workers, what a person asks of one there, and what running tasks tell on theirs."""

from __future__ import annotations

import html
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from tests.helpers import Gate, House, eventually, new_settings
from tests.integration.web_client import Web
from yadtq.commands.show import show_workers
from yadtq.core.yadtq_result_db import ClaimItem, NewTask
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def web(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url) as made:
        yield made


def beat(web: Web, inc: str, name: str, queues: tuple[str, ...] = ("media",), **state: Any) -> None:
    """A worker that lives, or lived."""
    about = {
        "name": name,
        "host": "ip-10-0-3-17",
        "pid": 4121,
        "version": "0.1.0",
        "queues": queues,
        "concurrency": 4,
        "pool": "thread",
        "started": 1_700_000_000.0,
        "functions": [{"name": "resize", "doc": "Resize a picture.", "params": []}],
    }
    web.engine.store.beat(inc, json.dumps(about), json.dumps({"done": 18_204, "failed": 41, **state}), [])


def silence(web: Web, inc: str, seconds: float) -> None:
    """As if its last beat had come so long ago."""
    store, key = web.engine.store, web.engine.store.key
    then = store.time_ms() - int(seconds * 1000)
    store.client.hset(key("worker:", inc), "beat", then)
    store.client.zadd(key("workers"), {inc: then})


def running(web: Web, inc: str, task_id: str, report: dict[str, Any] | None = None) -> None:
    store = web.engine.store
    store.enqueue([NewTask(task_id, "resize", "media", b"x\n{}", '[["a.jpg"],{}]', "")])
    store.claim(inc, "media-1", [ClaimItem(task_id, 1, f"{inc}:1", store.time_ms(), b"")])
    if report is not None:
        store.report([(task_id, f"{inc}:1", json.dumps(report).encode())])


def text_of(page: str) -> str:
    """What a person reads, tags and white space aside."""
    main = page.partition("<main")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def test_a_card_says_what_runs_since_when_and_what_the_worker_uses(web: Web) -> None:
    topic = web.engine.topic_of("media")
    state = {"running": ["t1"], "ran": [18_005.0], "rss": 432_013_312, "cpu": 0.71, "rate": [803.4, 2.0]}
    beat(web, "w1", "media-1", partitions={topic: [0, 1, 2, 3, 7]}, **state)
    running(web, "w1", "t1", {"attempt": 1, "progress": [1.0, 71, 100, "frames"], "said": 0, "lines": []})
    said = text_of(page := web.signed_in("viewer").get("/workers").text)
    for words in (
        "1 online",
        "Online media-1",
        "1 of 4",
        "resize 5 h 0 min",
        "media 0–3, 7",
        "Memory 412 MiB",
        "CPU 71 %",
    ):
        assert words in said, words
    for words in ("Done 18,204", "Failed 41", "Slots busy 1 / 4 25 %", "803 / min", "2.0 of them failed"):
        assert words in said, words
    assert '<progress max="100" value="71.0"' in page
    assert "Pause" not in said  # a viewer looks


def test_the_page_of_one_worker_shows_its_slots_with_progress(web: Web) -> None:
    beat(web, "w1", "media-1", running=["t1"], ran=[18_005.0])
    running(web, "w1", "t1", {"attempt": 1, "progress": [1.0, 5, 20, ""], "said": 0, "lines": []})
    said = text_of(web.signed_in("admin").get("/workers/w1").text)
    for words in ("resize t1", '"a.jpg"', "25 %", "5 h 0 min", "Kafka has assigned none", "Resize a picture."):
        assert words in said, words
    asked = web.signed_in("admin").get("/workers/w1").text
    assert (
        "takes nothing new. Nobody else takes from the queue media. What comes there waits until it is resumed."
        in asked
    )
    assert "the other workers take its partitions over" not in asked
    assert web.signed_in("admin").get("/workers/none").status_code == 404


def test_offline_workers_stand_apart_and_one_that_fell_silent_is_told_of(web: Web) -> None:
    for number, name in enumerate(("here", "silent", "left")):
        beat(web, f"w{number}", name)
    silence(web, "w1", 18_005)
    web.engine.store.release("w2", [], leave=True)
    page = web.signed_in("operator").get("/workers").text
    online, _, offline = page.partition('id="offline"')
    assert "here" in online
    assert "<b>silent has been offline for" in online
    assert "5 h 0 min" in online
    assert re.findall(r"<b>(\w+)</b></a></td><td class=\"state\">.*?</svg>(\w+)", offline) == [
        ("left", "Stopped"),
        ("silent", "Offline"),
    ]
    assert "w1/pause" not in page  # nobody would hear


def test_the_page_of_a_dead_worker_tells_what_was_and_counts_nothing(web: Web) -> None:
    topic = web.engine.topic_of("media")
    beat(web, "w1", "media-1", running=["t1"], ran=[240.0], cpu=0.04, rss=432_013_312, partitions={topic: [3]})
    running(web, "w1", "t1", {"attempt": 1, "progress": [1.0, 5, 20, ""], "said": 0, "lines": []})
    silence(web, "w1", 18_005)
    web.engine.store.client.hset(web.engine.store.key("t:", "t1"), mapping={"part": 9, "offset": 77_123})

    page = web.signed_in("operator").get("/workers/w1").text

    said = text_of(page)
    for words in ("Last seen 5 h", "The figures are those of its last heartbeat", "– / 4 ran 1 then", "– 4 % then"):
        assert words in said, words
    for words in (
        "412 MiB then",
        "18,204 since its start",
        "Had run for",
        "resize t1",
        "4 min 00 s",
        "others have them now",
    ):
        assert words in said, words
    assert "data-since" not in page.partition("<main")[2]
    assert 'class="slots"' not in page
    assert "77,123" not in said  # where its next run's record lies
    assert "<progress" not in page


def test_without_a_worker_no_figure_is_made_up(web: Web) -> None:
    said = text_of(web.signed_in("viewer").get("/workers").text)
    assert "of them failed" not in said
    assert "not told by their systems" not in said


def test_the_command_line_tells_what_a_dead_worker_ran_as_past(web: Web, redis_server: EmbeddedRedis) -> None:
    beat(web, "w1", "dead-1", running=["t1", "t2"], ran=[1.0, 1.0])
    beat(web, "w2", "alive-1", running=["t3"], ran=[1.0])
    silence(web, "w1", 60)
    environment = {"YADTQ_REDIS_PREFIX": web.engine.store.prefix, "COLUMNS": "200"}
    printed = CliRunner().invoke(show_workers, ["--redis", redis_server.url], env=environment).output
    assert re.findall(r"(\w+)-1 .* ago\s+(.*?)\s{2,}", printed) == [("alive", "1"), ("dead", "– (2 then)")]


def test_a_worker_is_found_by_its_name_host_or_queue(web: Web) -> None:
    beat(web, "w1", "media-1", ("media",))
    beat(web, "w2", "mail-1", ("mail",))
    client = web.signed_in("viewer")
    assert re.findall(r'id="w-(\w+)"', client.get("/workers?q=MAIL").text) == ["w2"]
    assert "No worker that is online has this" in client.get("/workers?q=nowhere").text


@pytest.mark.parametrize(
    ("role", "action", "answer"),
    [
        ("viewer", "pause", 403),
        ("viewer", "resume", 403),
        ("operator", "shutdown", 403),
        ("operator", "pause", 303),
        ("operator", "resume", 303),
        ("admin", "shutdown", 303),
    ],
)
def test_who_may_ask_what_and_that_it_is_noted(web: Web, role: str, action: str, answer: int) -> None:
    beat(web, "w1", "media-1")
    client = web.signed_in(role)
    sent = client.post(f"/workers/w1/{action}", data={"csrf_token": web.csrf_token(client)})
    assert sent.status_code == answer
    asked = web.engine.views.worker("w1").asked
    noted = [(entry.action, entry.target, entry.user) for entry in web.engine.views.audit().items]
    word = "shut down" if action == "shutdown" else action
    assert asked == ([action] if answer == 303 else [])
    assert ((f"{word} worker", "w1", "ada") in noted) == (answer == 303)
    if answer == 303:
        assert f"asked to {word}" in client.get("/workers").text


def test_what_cannot_be_asked_is_said(web: Web) -> None:
    beat(web, "w1", "media-1")
    client = web.signed_in("operator")
    token = web.csrf_token(client)
    silence(web, "w1", 60)
    assert client.post("/workers/w1/pause", data={"csrf_token": token}).status_code == 303
    assert "No worker 'w1' is online" in html.unescape(client.get("/workers").text)


def test_a_real_worker_is_paused_resumed_and_shut_down_from_its_page(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis
) -> None:
    gate = Gate()

    def tell(*, ctx: Any) -> None:
        time.sleep(0.01)  # what is left is told of a run that has taken some time
        ctx.progress(8_680, 14_000, f"part 7 {HOSTILE}")
        logging.getLogger("task").warning("part 4 was slow %s", HOSTILE)
        gate.wait()

    with Web(**new_settings(kafka, redis_server, time_scale=0.1)) as web, House(web.settings) as house:
        worker = house.worker({"tell": tell}, name="one")
        task_id = house.client.submit("tell")
        client = web.signed_in("admin")
        (info,) = house.views.workers()

        def ask(action: str) -> None:
            form = {"csrf_token": web.csrf_token(client)}
            assert client.post(f"/workers/{info.id}/{action}", data=form).status_code == 303

        page = eventually(
            lambda: text if "part 4 was slow" in (text := client.get(f"/tasks/{task_id}").text) else "", 10
        )
        assert HOSTILE not in page
        said = text_of(page)
        for words in (
            "8,680 of 14,000",
            "62 %",
            f"part 7 {HOSTILE}",
            "left, told",
            "Log 1 line, newest last",
            "warning",
        ):
            assert words in said, words
        ask("pause")
        eventually(lambda: "Paused</span>" in client.get(f"/workers/{info.id}").text, 5)
        ask("resume")
        eventually(lambda: "Online</span>" in client.get(f"/workers/{info.id}").text, 5)
        ask("shutdown")
        eventually(lambda: "Stopping</span>" in client.get("/workers").text, 5)
        gate.opened.set()
        assert worker._thread is not None
        worker._thread.join(20)
        assert "Stopped</span>" in client.get("/workers").text
