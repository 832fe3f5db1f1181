"""The overview: what needs attention, and figures that are those of real tasks."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

from flask.testing import FlaskClient

from tests.helpers import Gate, House, new_settings
from tests.integration.stored import end, submit
from tests.integration.web_client import Web
from tests.model.world import World
from yadtq import DoNotRetry
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
    assert "yadtq worker workercode -Q orphans" in attention(with_orphans)
    assert "q=queue:orphans&amp;status=queued" in attention(with_orphans)


def test_an_empty_house_says_what_to_start(web: Web, world: World) -> None:
    world.plain.delete(world.key("workers"), world.key("worker:", "w"))
    submit(world, "a")

    page = web.signed_in("viewer").get("/").text

    assert "No worker is online." in attention(page)
    assert "One waiting task stays where it is." in attention(page)
    assert "<code>yadtq worker workercode</code>" in attention(page)
    assert "No task has failed" in page


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
    assert "20 tasks in 5 minutes, none in the hour before, most lately add: ValueError: no" in attention(rising)
    assert "Failures are rising." not in attention(steady)


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
