"""Failures by what went wrong, replayed or deleted whole; and rejected records with their reasons."""

from __future__ import annotations

import re
import time
from html import unescape

import pytest
from flask.testing import FlaskClient
from kafka import KafkaProducer

from tests.helpers import House, eventually, new_settings
from tests.integration.stored import end, submit
from tests.integration.web_client import Web, find_csrf_token
from tests.model.world import World
from webapp.failed import news
from yadtq.core.views import failures
from yadtq.core.yadtq_survey import masked
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import FailureGroup
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis


@pytest.fixture(autouse=True)
def in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded machine ends no search early."""
    monkeypatch.setattr(failures, "MOST_SECONDS", 30)


@pytest.fixture
def operator(web: Web) -> FlaskClient:
    return web.signed_in("operator")


def groups(page: str) -> list[tuple[str, int]]:
    """Each group's error and how many tasks it has."""
    table = page.split('id="groups"')[1].split("</table>", maxsplit=1)[0]
    found = re.findall(r'<b class="msg">(.*?)</b>.*?data-l="Tasks"><b>([\d,]+)</b>', table, re.DOTALL)
    return [(unescape(error), int(count.replace(",", ""))) for error, count in found]


def start(client: FlaskClient, address: str) -> str:
    """Press the button of a confirm page, and wait for the job; returns the confirm page."""
    asked = client.get(address).text
    form = asked.split('action="/bulk"')[1].split("</form>", maxsplit=1)[0]
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form))
    fields["csrf_token"] = find_csrf_token(asked)
    answer = client.post("/bulk", data={name: unescape(value) for name, value in fields.items()})
    assert answer.status_code == 303, answer.text
    eventually(lambda: "Done" in client.get(answer.location).text)
    return asked


def test_failures_that_are_alike_are_one_line_with_their_newest_tasks(world: World, operator: FlaskClient) -> None:
    submit(world, "a", "b", "c", name="mail.send")
    submit(world, "d", name="resize")
    end(world, "a", "b", "c", error="OSError: <b>disk</b> 7 full")
    world.pass_time(10_000)
    end(world, "d", error="KeyError: 'x'")

    page = operator.get("/failed").text
    chosen = operator.get(unescape(re.findall(r'name" href="([^"#]+)', page)[1])).text

    assert groups(page) == [("KeyError: 'x'", 1), ("OSError: <b>disk</b> 7 full", 3)]
    assert "4 tasks in 2 groups" in page
    assert "Newest of “KeyError: &#39;x&#39;”" in page
    assert "Newest of “OSError: &lt;b&gt;disk&lt;/b&gt; 7 full”" in chosen
    assert sorted(re.findall(r'href="/tasks/(\w)"><b>mail.send', chosen)) == ["a", "b", "c"]
    assert "Failures by the hour, last 24 hours: 0, 0" in page


def test_a_whole_group_is_replayed_after_a_dry_run(world: World, web: Web, operator: FlaskClient) -> None:
    submit(world, "a", "b", "c")
    submit(world, "d")
    end(world, "a", "b", "c", error="OSError: disk full")
    end(world, "d", error="KeyError: 'x'")
    page = operator.get("/failed").text

    address = re.findall(r'href="([^"]+)" aria-label="Retry all of add"', unescape(page))[1]
    asked = start(operator, address)

    statuses = {one: web.engine.views.result(one).status for one in "abcd"}
    assert "<b>3 tasks</b> would be touched" in asked
    assert "<h1>Retry all of add</h1>" in asked
    assert "Tasks that failed with <b>OSError: disk full</b>" in asked
    job = operator.get(f"/bulk/{web.engine.views.audit().items[0].detail.split()[1].rstrip(',')}").text
    assert "<h1>Retry all of add</h1>" in job
    assert "Tasks that failed with <b>OSError: disk full</b>" in job
    [waiting] = re.findall(r'href="([^"]+)">3 wait</a>', unescape(job))
    assert sorted(re.findall(r'id="t-(\w)"', operator.get(waiting).text)) == ["a", "b", "c"]
    assert statuses == dict.fromkeys("abc", TaskStatus.QUEUED) | {"d": TaskStatus.FAILED}
    assert groups(operator.get("/failed").text) == [("KeyError: 'x'", 1)]


def test_a_whole_group_is_deleted_after_a_dry_run(world: World, web: Web, operator: FlaskClient) -> None:
    submit(world, "a", "b", "c")
    end(world, "a", "b", error="OSError: disk full")
    end(world, "c", error="KeyError: 'x'")
    address = re.findall(r'href="([^"]+)" aria-label="Delete all of add"', unescape(operator.get("/failed").text))[1]
    fingerprint = address.split("group:")[1]

    asked = start(operator, address)

    assert "<b>2 tasks</b> would be touched" in asked
    assert groups(operator.get("/failed").text) == [("KeyError: 'x'", 1)]
    assert set(web.engine.views.tasks_by_id("abc")) == {"c"}
    assert "That group is empty now" in operator.get(f"/failed?group={fingerprint}").text


def test_the_api_orders_searches_and_pages_them_as_the_page_does(world: World, operator: FlaskClient) -> None:
    submit(world, "a", "b", name="mail.send")
    submit(world, "c", name="resize")
    end(world, "a", "b", error="OSError: disk full")
    world.pass_time(10_000)
    end(world, "c", error="KeyError: 'x'")

    def names(query: str) -> list[str]:
        return [group["name"] for group in operator.get(f"/api/v1/failures?{query}").get_json()["items"]]

    first = operator.get("/api/v1/failures?order=most&limit=1").get_json()
    assert (names(""), names("order=oldest")) == (["resize", "mail.send"], ["mail.send", "resize"])
    assert names("q=error:KeyError") == ["resize"]
    assert ([group["name"] for group in first["items"]], first["total"]) == (["mail.send"], 2)
    assert names(f"order=most&limit=1&cursor={first['next']}") == ["resize"]
    assert operator.get("/api/v1/failures?q=after:never").status_code == 400
    assert "newest, oldest" in operator.get("/api/v1/failures?order=odd").get_json()["error"]


def test_a_viewer_sees_groups_and_cannot_move_them(world: World, web: Web) -> None:
    submit(world, "a")
    end(world, "a")

    page = web.signed_in("viewer").get("/failed").text

    assert groups(page) == [("ValueError: no", 1)]
    assert "Retry all" not in page
    assert "/bulk" not in page


@pytest.mark.parametrize("order", ["newest", "oldest", "most"])
def test_pages_of_groups_show_each_once_also_those_of_one_moment(
    world: World, operator: FlaskClient, order: str
) -> None:
    words = [f"{first}{second}" for first in "abcdefgh" for second in "jklmnopq"][:64]
    for word in words:
        submit(world, word)
    for number, word in enumerate(words):
        end(world, word, error=f"Error{word.title()}: no", worker="box-1")
        if number == 40:
            world.pass_time(1_000)
    address, seen = f"/failed?order={order}", []
    while address:
        page = operator.get(address).text
        seen += [error for error, _ in groups(page)]
        older = re.search(r'href="([^"]+)" rel="next"', page)
        address = unescape(older[1]) if older else ""

    assert sorted(seen) == sorted(f"Error{word.title()}: no" for word in words)
    assert "64 tasks in 64 groups" in page


@pytest.fixture
def three_groups(world: World) -> World:
    """Of one, two and three tasks; the one of two failed last."""
    submit(world, "a", "b", "c", name="mail.send", queue="mail")
    submit(world, "d", "e", "f", name="resize")
    end(world, "a", error="KeyError: 'x'")
    world.pass_time(7_200_000)
    end(world, "d", "e", "f", error="OSError: disk full")
    world.pass_time(1_000)
    end(world, "b", "c", error="TimeoutError: too slow")
    return world


def link(page: str, words: str) -> str:
    """Where the link of these words leads."""
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>(?:<svg.*?</svg>)?{words}', page)
    assert found, words
    return unescape(found[1])


def test_groups_are_sorted_by_their_newest_failure_or_their_size(three_groups: World, operator: FlaskClient) -> None:
    newest = operator.get("/failed").text
    oldest = operator.get(link(newest, "Oldest failure")).text
    most = operator.get(link(newest, "Most tasks")).text

    assert [count for _, count in groups(newest)] == [2, 3, 1]
    assert [count for _, count in groups(oldest)] == [1, 3, 2]
    assert [count for _, count in groups(most)] == [3, 2, 1]
    assert '/failed?order=most" aria-current="true">Most tasks' in most
    assert most.count('aria-current="true"') == 1
    assert "order=most" in link(most, '<b class="msg">')
    assert [count for _, count in groups(operator.get(link(most, "Newest failure")).text)] == [2, 3, 1]


def test_a_group_is_ranked_anew_when_its_tasks_go(three_groups: World, operator: FlaskClient) -> None:
    three_groups.retry("d", three_groups.time_ms())
    three_groups.delete_many(["e"])
    assert [count for _, count in groups(operator.get("/failed?order=most").text)] == [2, 1, 1]

    three_groups.delete_many(["f"])
    page = operator.get("/failed?order=most").text
    assert [count for _, count in groups(page)] == [2, 1]
    assert "3 tasks in 2 groups" in page


def test_an_unknown_order_is_refused_with_those_there_are(operator: FlaskClient) -> None:
    answer = operator.get("/failed?order=best")

    assert answer.status_code == 400
    assert "There is no order &#39;best&#39;; the orders are newest, oldest, most." in answer.text


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("name:mail", [2, 1]),
        ("error:full", [3]),
        ("FULL", [3]),
        ("queue:mail -error:keyerror", [2]),
        ("-name:mail", [3]),
        ("status:failed", [2, 3, 1]),
        ("status:queued", []),
        ("after:1h", [2, 3]),
        ("before:1h", [1]),
        ("reason:timeout", []),
        ("job:0123", []),
    ],
)
def test_groups_are_searched_by_their_newest_task(
    three_groups: World, operator: FlaskClient, text: str, sizes: list[int]
) -> None:
    page = operator.get("/failed", query_string={"q": text}).text
    most = operator.get("/failed", query_string={"q": text, "order": "most"}).text

    assert [count for _, count in (groups(page) if sizes else [])] == sizes
    assert [count for _, count in (groups(most) if sizes else [])] == sorted(sizes, reverse=True)
    assert ("No group matches" in page) == (not sizes)
    assert f'value="{text}"' in page
    assert "6 tasks in 3 groups" in page


def test_one_group_is_found_by_its_fingerprint(three_groups: World, web: Web, operator: FlaskClient) -> None:
    group = web.engine.views.failure_groups()[1].fingerprint

    assert groups(operator.get(f"/failed?q=group:{group}").text) == [("OSError: disk full", 3)]


def test_a_search_keeps_its_order_and_leads_to_the_tasks(three_groups: World, operator: FlaskClient) -> None:
    page = operator.get("/failed?q=name:mail&order=oldest").text
    nothing = operator.get("/failed?q=name:none").text

    assert [count for _, count in groups(page)] == [1, 2]
    assert "<b>2</b> found" in page
    assert 'name="order" value="oldest"' in page
    assert link(page, "Most tasks") == "/failed?q=name:mail&order=most"
    assert link(page, "Clear") == "/failed?order=oldest"
    assert link(nothing, "Search all failed tasks") == "/tasks?q=name:none&status=failed"


def test_a_search_that_is_no_search_is_told_at_its_box(three_groups: World, operator: FlaskClient) -> None:
    answer = operator.get("/failed?q=colour:<b>")

    assert answer.status_code == 400
    assert 'aria-invalid="true" aria-describedby="q-problem"' in answer.text
    assert "There is no colour: to search by" in answer.text
    assert 'value="colour:&lt;b&gt;"' in answer.text


def test_a_search_of_groups_that_stops_at_its_limit_says_so_and_goes_on(
    three_groups: World, operator: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_GROUPS", 2)

    first = operator.get("/failed?q=error:keyerror").text
    second = operator.get(link(first, "Search further")).text

    assert "Looked at 2 groups, and found none" in first
    assert "No group matches" not in first
    assert groups(second) == [("KeyError: 'x'", 1)]
    assert "Search further" not in second


def test_no_failure_is_told_as_good_news(operator: FlaskClient) -> None:
    assert "No task has failed" in operator.get("/failed").text


def test_rejected_records_are_shown_with_their_reason_and_without_secrets(
    kafka: EmbeddedKafka, redis_server: EmbeddedRedis
) -> None:
    with Web(**new_settings(kafka, redis_server)) as web, House(web.settings) as house:
        viewer = web.signed_in("viewer")
        empty = viewer.get("/failed/rejected").text
        house.worker({"ok": lambda: None})
        producer = KafkaProducer(bootstrap_servers=web.settings["kafka_servers"])
        bodies = [b"\xff\x00 <script>alert(1)</script>", b'{"kwargs": {"password": "hunter2", "n": 1}}', b"x" * 9_000]
        for number, body in enumerate(bodies):
            producer.send(web.settings["topic"], body, key=f"<i>{number}".encode())
        producer.flush()
        producer.close()
        web.engine.kafka.rejected.get(fresh=0, wait=0)

        def all_there() -> str:
            web.engine.kafka.rejected.get(fresh=0, wait=2)
            text = viewer.get("/failed/rejected").text
            return text if "The newest 3 of 3" in text else ""

        page = eventually(all_there, 20, every=0.2)

    assert "No record has been rejected" in empty
    assert page.count("no yadtq header: it was not sent by a YADTQ client") == 3
    assert f"<code>{web.settings['topic']}</code>" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "&lt;i&gt;0" in page
    assert "hunter2" not in page
    assert "••••••" in page
    assert "9,000 B" in page
    assert "x" * 2_001 not in page


def test_rejected_records_wait_for_no_kafka_that_is_away(redis_server: EmbeddedRedis) -> None:
    with Web(redis_server.url, kafka_servers=["127.0.0.1:9"]) as web:
        viewer = web.signed_in("viewer")
        began = time.monotonic()
        page = viewer.get("/failed/rejected").text
        took = time.monotonic() - began

    assert took < 2.0
    assert "The records cannot be read just now." in page
    assert "127.0.0.1:9" in page


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"api_key":"abc","n":1}', '{"api_key":"••••••","n":1}'),
        ('{"token" : 12, "b": {"Secret_Word": true}}', '{"token" : "••••••", "b": {"Secret_Word": "••••••"}}'),
        (r'{"password": "a\"b", "x": "pass: word"}', '{"password": "••••••", "x": "pass: word"}'),
        ('{"password": "cut of', '{"password": "••••••"'),
        ("no json: password", "no json: password"),
        ('{"tokens": ["abc"], "password": {"old": "x1"}}', '{"tokens": "••••••", "password": "••••••"}'),
        ('{"secret": [[1], {"a": "]}\\""}], "n": [2]}', '{"secret": "••••••", "n": [2]}'),
        ('{"n": [1], "tokens" :\n["cut", {"of', '{"n": [1], "tokens" :\n"••••••"'),
        ('{"tokens": ["disorder"}, "x1"]', '{"tokens": "••••••"'),
        ('{"a": {"password": {}}, "b": {"token": "t"}}', '{"a": {"password": "••••••"}, "b": {"token": "••••••"}}'),
        ('{"a": ["x",":"], "password": "s"}', '{"a": ["x",":"], "password": "••••••"}'),
        ('5" wide, "password": ["s"]', '5" wide, "password": "••••••"'),
        ('{"password":', '{"password":'),
    ],
)
def test_values_named_like_a_secret_are_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("hours_ago", "per_hour", "word"),
    [
        (0.5, [0] * 23 + [9], "new"),
        (30, [1] * 23 + [9], "rising"),
        (30, [4] * 24, ""),
        (30, [0] * 23 + [2], ""),
        (30, [0] * 24, "quiet"),
    ],
)
def test_a_word_says_how_a_group_has_been_doing(hours_ago: float, per_hour: list[int], word: str) -> None:
    first = time.time() - hours_ago * 3600

    assert news(FailureGroup("fp", "add", "no", "error", 9, first, first, [], per_hour)) == word
