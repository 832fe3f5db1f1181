"""The submit page on a real Redis: finding a function, fields and JSON, errors by the field, what is known beside it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Literal

import pytest
from flask.testing import FlaskClient

from tests.helpers import House, eventually, new_settings
from tests.integration.web_client import Web
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis


def echo(text: str, count: int = 1, *, loud: bool = False) -> str:
    """Say it again."""
    return (text.upper() if loud else text) * count


def paint(colour: Literal["red", "blue"], sizes: list[int], *more: str, **named: int) -> list[object]:
    """Paint a wall."""
    return [colour, sizes, list(more), named]


@pytest.fixture
def web(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(**new_settings(kafka, redis_server)) as made:
        yield made


@pytest.fixture(scope="module")
def worked(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Web]:
    """An app with a worker that knows two functions and takes from two queues."""
    with Web(**new_settings(kafka, redis_server)) as web, House(web.settings) as house:
        house.worker({"echo": echo, "shop.paint": paint}, queues=["default", "walls"], name="painter")
        eventually(web.engine.views.functions)
        yield web


@pytest.fixture
def client(worked: Web) -> FlaskClient:
    return worked.signed_in("operator")


def submit(web: Web, client: FlaskClient, **data: str) -> object:
    """Send the form; the task's result, or the page that came back."""
    answer = client.post("/submit", data={"csrf_token": web.csrf_token(client), **data})
    if answer.status_code != 303:
        return html.unescape(answer.text)
    task_id = answer.location.split("/")[2]
    return web.engine.client.wait_for_result(task_id, 20).result


def field(page: str, name: str) -> str:
    """One input's tag."""
    found = re.search(rf"<[^>]*\bname=\"{name}\"[^>]*>(?:[^<]*</textarea>)?", page)
    assert found, f"no input {name}"
    return found[0]


def test_functions_are_found_by_name_and_by_what_they_do(client: FlaskClient) -> None:
    everything, wall, none = (client.get("/submit", query_string={"q": q}).text for q in ("", "WALL", "wall again"))

    assert everything.count("data-row") == 2
    assert 'href="/submit?task=shop.paint"' in wall
    assert "task=echo" not in wall
    assert "No function matches" in none
    assert "data-row" not in none


def test_the_form_fits_the_function_and_what_it_sends_arrives(worked: Web, client: FlaskClient) -> None:
    page = client.get("/submit?task=echo").text

    result = submit(worked, client, **{"task": "echo", "a-text": "ab", "a-count": "2", "a-loud": "on"})

    assert 'type="checkbox"' in field(page, "a-loud")
    assert 'value="1"' in field(page, "a-count")
    assert "Say it again." in page
    assert "def echo(text: str, count: int = 1, *, loud: bool = False)" in page
    assert "painter" in page
    assert result == "ABAB"


def test_choices_lists_and_further_arguments(worked: Web, client: FlaskClient) -> None:
    page = client.get("/submit?task=shop.paint").text
    data = {"task": "shop.paint", "a-colour": "blue", "a-sizes": "1, 2", "a-more": '["x"]', "a-named": '{"n": 3}'}

    assert "<option>red</option><option>blue</option>" in page
    assert submit(worked, client, **data) == ["blue", [1, 2], ["x"], {"n": 3}]


def test_errors_stand_at_their_fields_and_in_a_summary_that_links_to_them(worked: Web, client: FlaskClient) -> None:
    page = submit(worked, client, **{"task": "echo", "a-text": "", "a-count": "many", "o-delay": "soon", "o-key": "k"})

    assert isinstance(page, str)
    for name, words in (
        ("a-text", "It needs a value."),
        ("a-count", "“many” is not a whole number."),
        ("o-delay", "“soon” is not a length of time"),
    ):
        assert f'<a href="#{name}">' in page
        assert f'<span class="err" id="e-{name}">{words}' in page
        assert 'aria-invalid="true"' in field(page, name)
        assert f'aria-describedby="e-{name}' in field(page, name)
    assert "3 fields need another look" in page
    assert 'value="many"' in field(page, "a-count")
    assert 'value="k"' in field(page, "o-key")


def test_going_to_json_and_back_keeps_what_was_typed(worked: Web, client: FlaskClient) -> None:
    data = {"task": "echo", "a-text": "ab", "a-count": "many", "a-loud": "on", "o-key": "k"}

    page = submit(worked, client, **data, switch="json")
    assert isinstance(page, str)
    typed = re.search(r'<textarea[^>]*name="json"[^>]*>([^<]*)<', page)
    assert typed
    body = json.loads(typed[1])
    back = submit(worked, client, task="echo", json=json.dumps({"args": ["cd", 3]}), switch="fields")

    assert body == {"args": ["ab"], "kwargs": {"count": "many", "loud": True}}
    assert "Not submitted" not in page
    assert 'value="k"' in field(page, "o-key")
    assert isinstance(back, str)
    assert 'value="cd"' in field(back, "a-text")
    assert 'value="3"' in field(back, "a-count")


def test_a_task_can_be_used_again_as_a_start(worked: Web, client: FlaskClient) -> None:
    again = worked.engine.client.submit("echo", "xyz", loud=True)
    strange = worked.engine.client.submit("echo", 1, 2, 3, 4)

    fields = client.get(f"/submit?like={again}").text
    raw = html.unescape(client.get(f"/submit?like={strange}").text)

    assert 'value="xyz"' in field(fields, "a-text")
    assert "checked" in field(fields, "a-loud")
    assert f'href="/submit?like={again}"' in client.get("/submit?task=echo").text
    assert '"args": [\n    1,' in field(raw, "json")


def test_what_the_queue_refuses_is_told_on_top(worked: Web, client: FlaskClient) -> None:
    page = submit(worked, client, **{"task": "echo", "a-text": "ab", "o-queue": "no such/queue"})

    assert isinstance(page, str)
    assert re.search(r"<b>Not submitted\.</b>[^<]*queue", page)
    assert 'value="ab"' in field(page, "a-text")


def test_without_a_worker_the_page_says_how_to_start_one_and_takes_json(web: Web) -> None:
    client = web.signed_in("operator")
    empty = client.get("/submit").text
    data = {"csrf_token": web.csrf_token(client), "task": "later.task"}

    broken = client.post("/submit", data={**data, "json": "{"})
    nameless = client.post("/submit", data={**data, "task": "", "json": "{}"})
    sent = client.post("/submit", data={**data, "json": '{"args": [1], "kwargs": {"b": [2]}}'})

    assert "No worker is online, so no function is known." in empty
    assert "<code>yadtq worker MODULE</code>" in empty
    assert 'data-copy="yadtq worker MODULE"' in empty
    assert "This is not JSON" in broken.text
    assert nameless.status_code == 422
    task_id = sent.location.split("/")[2]
    detail = web.engine.views.task(task_id)
    assert (detail.args, detail.kwargs) == ([1], {"b": [2]})
    assert "No worker is online." in client.get(sent.location).text
