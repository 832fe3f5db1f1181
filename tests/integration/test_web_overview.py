"""The overview: what needs attention, and figures that are those of real tasks."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from dataclasses import asdict
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.helpers import Gate, House, eventually, new_settings
from tests.integration.stored import announce, claim, end, submit, submit_whole
from tests.integration.web_client import Web, find_csrf_token
from tests.model.world import World
from yadtq import DoNotRetry
from yadtq.cli import main
from yadtq.core.yadtq_heartbeat import About
from yadtq.core.yadtq_result_db import ClaimItem
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis


def plotted(page: str, plot: str) -> dict[str, Any]:
    """What the script draws."""
    found = re.search(rf'id="{plot}"[^>]*data-plot="([^"]+)"', page)
    assert found
    return dict(json.loads(unescape(found[1])))


def story(page: str, plot: str) -> str:
    found = re.search(rf'id="{plot}"[^>]*aria-label="([^"]+)"', page)
    assert found
    return found[1]


def attention(page: str) -> str:
    return page.split('id="attention"')[1].split("</section>", maxsplit=1)[0]


def drawn(page: str, plot: str) -> list[float]:
    """The values under the SVG's first line, by its heights and the axis' end."""
    svg = page.split(f'id="{plot}"')[1].split("</svg>", maxsplit=1)[0]
    heights = re.findall(r"[ML][\d.]+ ([\d.]+)", svg.split('class="fade0" d="')[1].split('"')[0])
    top = plotted(page, plot)["top"]
    return [round((100 - float(y)) / 100 * top, 1) for y in heights]


def test_charts_and_figures_are_those_of_tasks_that_workers_ran(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis
) -> None:
    gate = Gate()

    def refuse() -> None:
        raise DoNotRetry("not this")

    with Web(**new_settings(kafka, redis_server)) as web, House(web.settings) as house:
        house.worker({"ok": lambda: None, "slow": gate.wait, "refuse": refuse}, name="box-1")
        ids = house.client.submit_many([("ok", ()) for _ in range(12)] + [("refuse", ()) for _ in range(3)])
        house.ended(ids)
        held = house.client.submit("slow")
        house.reaches(held, "processing")
        client = web.signed_in("viewer")
        pages = {span: client.get(f"/?span={span}").text for span in ("1h", "24h", "7d")}
        house.client.options(queue="orphans").submit("ok")
        with_orphans = client.get("/").text
        gate.opened.set()

    for span, points in (("1h", 60), ("24h", 96), ("7d", 168)):
        page = pages[span]
        good, bad, waits = (plotted(page, plot) for plot in ("plot-good", "plot-bad", "plot-waits"))
        assert len(good["starts"]) == points
        assert (sum(good["curves"][0]["values"]), sum(bad["curves"][0]["values"])) == (12, 3)
        assert sum(drawn(page, "plot-good")) == 12
        assert [curve["name"] for curve in waits["curves"]] == ["median", "p95", "p99"]
        assert {value is None for value in waits["curves"][0]["values"]} == {True, False}
        assert "12 in all" in story(page, "plot-good")
        assert "of 15 runs; steady" in story(page, "plot-waits")
        for word, count in (("Success", 12), ("Failed", 3), ("Processing", 1), ("Workers", 1)):
            assert f'<span class="vh">{word}: </span><span class="val">{count}' in page
        assert "Nothing needs attention" in attention(page)
    assert "No worker takes from the queue orphans." in attention(with_orphans)
    assert "yadtq worker MODULE -Q orphans" in attention(with_orphans)
    assert "q=queue:orphans&amp;status=queued" in attention(with_orphans)


def test_an_empty_house_says_what_to_start(web: Web, world: World) -> None:
    world.plain.delete(world.key("workers"), world.key("worker:", "w"))
    submit(world, "a")

    page = web.signed_in("viewer").get("/").text

    assert "No worker is online." in attention(page)
    assert "One waiting task stays where it is." in attention(page)
    assert "<code>yadtq worker MODULE</code>" in attention(page)
    assert "No task has failed" in page


def says(page: str) -> str:
    """What the concerns say, tags and white space aside."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", attention(page))).split())


def press(client: FlaskClient, page: str, words: str) -> TestResponse:
    """Press a concern's button."""
    [(address, task)] = re.findall(
        rf'formaction="([^"]+)"(?: name="task" value="([^"]+)")?[^>]*>{words}<', attention(page)
    )
    data = {"csrf_token": find_csrf_token(page), "next": "/", **({"task": task} if task else {})}
    return client.post(address, data=data, follow_redirects=True)


def test_a_queue_whose_workers_are_all_paused_is_told_with_resume_on_its_line(web: Web, world: World) -> None:
    announce(world, "x", "box-x", paused=5.0)
    announce(world, "z", "box-z", ("other",))
    operator, viewer = web.signed_in("operator"), web.signed_in("viewer")

    idle = operator.get("/").text
    submit(world, "a", "b")
    waiting = operator.get("/").text
    looks = viewer.get("/").text
    answer = press(operator, waiting, "Resume")
    announce(world, "y", "box-y")
    served = operator.get("/").text

    assert "The only worker of default is paused. Tasks would wait." in says(idle)
    assert "The only worker of default is paused. 2 tasks wait, the oldest for" in says(waiting)
    assert "The only worker of default is paused." in says(looks)
    assert "Resume" not in says(looks)
    assert "Asked; the worker hears of it" in answer.text
    assert "Asked to resume." in says(answer.text)
    assert "is paused" not in says(served)


def test_paused_workers_of_the_same_queues_share_a_line(web: Web, world: World) -> None:
    announce(world, "x", "box-x", ("default", "mail"), paused=5.0)
    announce(world, "y", "box-y", ("default", "mail"), paused=5.0)

    told = says(web.signed_in("operator").get("/").text)

    assert "All workers of default and mail are paused. Tasks would wait." in told
    assert "Resume box-x" in told
    assert "Resume box-y" in told


def test_a_queue_that_waits_long_for_busy_slots_backs_up(web: Web, world: World) -> None:
    """Not before a minute, and with another cure where slots are free elsewhere."""
    announce(world, "x", "box-x", slots=2)
    submit(world, "a", "b", "c", "d")
    claim(world, "x", "a", "b")
    operator = web.signed_in("operator")

    early = operator.get("/").text
    world.pass_time(70_000)
    announce(world, "x", "box-x", slots=2, holds="ab", target="shop.tasks")
    full = operator.get("/").text
    announce(world, "y", "box-y", slots=8)
    one_sided = operator.get("/").text
    answer = press(operator, one_sided, "Pause")

    assert "backs up" not in says(early)
    assert "default backs up. All 2 slots of its workers are busy; 2 tasks wait, the oldest for 1 min 1" in says(full)
    assert "yadtq worker shop.tasks -Q default" in attention(full)
    assert "default backs up behind box-x. All 2 slots there are busy, 8 are free elsewhere;" in says(one_sided)
    assert "Asked; the worker hears of it" in answer.text
    assert web.engine.views.worker("x").asked == ["pause"]


def test_a_dead_worker_is_told_with_what_became_of_its_tasks_until_it_is_dismissed(web: Web, world: World) -> None:
    announce(world, "x", "box-x", slots=2, running=["a", "b"])
    submit(world, "a", "b")
    claim(world, "x", "a", "b")
    world.pass_time(31_000)
    announce(world, "y", "box-y", slots=2)
    operator = web.signed_in("operator")

    silent = operator.get("/").text
    for _ in range(9):
        world.pass_time(4_000)
        world.beat("y", "", "{}", [])
    assert "x" in world.reap("y")
    moved = operator.get("/").text
    announce(world, "z", "box-x", slots=2)
    again = operator.get("/").text
    world.beat("z", "", "{}", [])
    world.release("z", [], leave=True)
    dismissed = press(operator, operator.get("/").text, "Dismiss").text
    entry = web.engine.views.audit().items[0]

    assert "box-x is offline. Its 2 tasks go back to the queue within 35 s of its last heartbeat" in says(silent)
    assert "Dismiss" not in says(silent)
    assert "box-x is offline. Its 2 tasks went back to the queue; last heartbeat" in says(moved)
    assert "box-x is offline" not in says(again)
    assert "box-x is offline" not in says(dismissed)
    assert "box-x has been offline" not in operator.get("/workers").text
    assert (entry.action, entry.target) == ("dismiss worker", "x")


def test_failures_alike_are_named_until_they_are_mended(web: Web, world: World) -> None:
    """Also when the last minutes were quiet, and by the largest group, not by the newest."""
    many, one = [f"t{number}" for number in range(20)], "last"
    submit(world, *many, one)
    end(world, *many, error="OSError: disk full")
    end(world, one, error="KeyError: one")
    operator = web.signed_in("operator")

    rising = operator.get("/").text
    world.pass_time(600_000)
    world.plain.delete(*world.plain.keys(world.key("minute:", "*")))
    announce(world, "w")
    later = operator.get("/").text
    [look] = re.findall(r'href="(/failed\?group=[^"]+)"', attention(later))
    [replay] = re.findall(r'href="(/bulk\?action=retry[^"]+)"', attention(later))
    asked, looked_at = operator.get(unescape(replay)).text, operator.get(unescape(look)).text
    viewer = web.signed_in("viewer").get("/").text
    for task_id in many:
        world.retry(task_id, world.time_ms(), by="ann")
    mended = operator.get("/").text

    assert (
        "Failures are rising. 21 tasks in 5 minutes, none in the hour before; above all add: OSError: disk full"
        in says(rising)
    )
    assert "20 tasks failed alike in the last hour. add: OSError: disk full; the last one 10 min ago" in says(later)
    assert "Retry 20…" in says(later)
    assert "Newest of “OSError: disk full”" in looked_at
    assert "20" in asked
    assert "Retry" not in says(viewer)
    assert "failed alike" not in says(mended)


def test_a_spike_of_failures_is_told_and_a_steady_rate_is_not(world: World, viewer: FlaskClient) -> None:
    ids = [f"t{number}" for number in range(20)]
    submit(world, *ids)
    end(world, *ids)
    rising = viewer.get("/").text
    open_minute = int(str(world.plain.get(world.key("open_minute"))))
    for minute in range(10, 60):
        world.plain.hset(world.key("minute:", str(open_minute - minute * 60)), "failed", 4)

    steady = viewer.get("/").text

    assert "Failures are rising." in attention(rising)
    assert "20 tasks in 5 minutes, none in the hour before; above all add: ValueError: no" in attention(rising)
    assert "Failures are rising." not in attention(steady)


def test_slots_are_told_apart_from_what_is_claimed_ahead(web: Web, world: World) -> None:
    submit_whole(world, *"abcde")
    announce(world, "x", "x", slots=2)
    claim(world, "x", *"abcde")
    world.pass_time(2)  # a beat of the same millisecond would tell nothing of the claim
    announce(world, "x", "x", slots=2, holds="abcde", running=["a", "b"])
    announce(world, "y", "box-y", slots=2, paused=3.0)
    operator = web.signed_in("operator")

    page = operator.get("/").text
    [row] = re.findall(r'<tr[^>]*><td class="lead">.*?default.*?</tr>', page.split('id="queues"')[1], re.DOTALL)
    [share, workers] = (
        re.findall(rf'{word}: </span>.*?class="sub">(.*?)</span>', page)[0] for word in ("Processing", "Workers")
    )

    assert '<span class="vh">Processing: </span><span class="val">2 <small class="muted">/ 4</small>' in page
    assert share == "50 % busy, 3 claimed"
    assert workers == "online, 1 paused"
    assert '>5 <small class="muted">3 claimed</small>' in row
    assert 'max="4" value="2"' in row
    assert "Attempt 1 running" in operator.get("/tasks/a").text
    assert "Attempt 1 claimed, waits there for a slot" in operator.get("/tasks/e").text


def test_the_share_of_failures_and_the_next_due_tasks_are_told(world: World, viewer: FlaskClient) -> None:
    submit(world, "a", "b", "c", "d")
    end(world, "a", kind="success", error="1")
    end(world, "b")
    world.claim("w", "box-1", [ClaimItem("c", 1, "w:7", world.time_ms(), b"")])
    world.finish("w", [("c", "w:7", "retry", "ValueError: no", "", "error", 90_500, "")])

    page = viewer.get("/").text
    [retrying] = re.findall(r'Retrying: </span>.*?class="sub">(.*?)</span>', page)

    assert "1, last hour, 50 %" in page
    assert re.sub(r"<[^>]+>", "", retrying) == "next in 1 min"
    assert "wait for their time" in page


def test_groups_of_failures_lead_to_their_tasks(world: World, viewer: FlaskClient) -> None:
    submit(world, "a", "b")
    end(world, "a", "b", error="OSError: <b>disk</b> full")

    page = viewer.get("/").text
    found = re.search(r'href="(/tasks\?q=group:[^"]+)"><b>OSError: &lt;b&gt;disk', page)

    assert found
    listed = viewer.get(unescape(found[1])).text
    assert re.findall(r'<tr id="t-(\w+)"', listed) == ["b", "a"]


def test_another_span_is_refused_with_those_there_are(viewer: FlaskClient) -> None:
    answer = viewer.get("/?span=2h")

    assert answer.status_code == 400
    assert "the spans are 1h, 24h, 7d" in answer.text


def test_the_overview_says_why_a_worker_cannot_start_until_one_does(
    web: Web, world: World, redis_server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_tasks.py").write_text("import nothing_of_this_name\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    environment = {"YADTQ_REDIS_PREFIX": world.prefix, "YADTQ_KAFKA_SERVERS": "127.0.0.1:1"}

    ended = CliRunner().invoke(main, ["worker", "broken_tasks", "--redis", redis_server.url], env=environment)
    viewer = web.signed_in("viewer")
    told = eventually(lambda: said if "cannot start" in (said := says(viewer.get("/").text)) else "")

    assert ended.exit_code == 2
    assert f"A worker cannot start on {socket.gethostname()}. Broken_tasks cannot be imported:" in told
    assert "line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'" in told
    about = About("box-x", socket.gethostname(), "0", ("default",), 1, "thread", [], started=time.time() + 1)
    world.beat("x", json.dumps(asdict(about)), "{}", [])
    eventually(lambda: "cannot start" not in says(viewer.get("/").text))
    assert 0 < world.plain.ttl(world.key("nostart")) <= 120
