"""The page of one task: its life, its arguments and result, why it waits, and what a person does to it from there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.helpers import House, eventually, new_settings
from tests.integration.web_client import Web, find_csrf_token
from yadtq import DoNotRetry, task
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis
from yadtq.errors import BrokerUnavailable

KEY = "0123456789abcdef"


@task(retries=1)
def divide(a: int, b: int = 1, **more: Any) -> dict[str, Any]:
    return {"quotient": a / b, "more": sorted(more)}


def report(*, ctx: Any) -> None:
    ctx.progress(3, 10, "writing part <3>")
    logging.getLogger("shop").warning("part 2 was slow")


def garble(text: str) -> None:
    raise ValueError(f"{text}\udcff")


def refuse(text: str = "as asked") -> None:
    raise DoNotRetry(text)


@pytest.fixture(scope="module")
def house(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[House]:
    with House(new_settings(kafka, redis_server, retry_backoff=0.01)) as made:
        made.worker({"divide": divide, "refuse": refuse, "garble": garble, "report": report})
        yield made


@pytest.fixture(scope="module")
def web(house: House) -> Iterator[Web]:
    with Web(**house.settings) as made:
        yield made


@pytest.fixture
def operator(web: Web) -> FlaskClient:
    return web.signed_in("operator")


def send_again(client: FlaskClient, task_id: str, args: str, kwargs: str, key: str = KEY) -> Any:
    page = client.get(f"/tasks/{task_id}/again").text
    data = {"csrf_token": find_csrf_token(page), "form_key": key, "args": args, "kwargs": kwargs}
    return client.post(f"/tasks/{task_id}/again", data=data)


def act(client: FlaskClient, task_id: str, action: str) -> Any:
    data = {"csrf_token": find_csrf_token(client.get(f"/tasks/{task_id}").text)}
    return client.post(f"/tasks/{task_id}/{action}", data=data, follow_redirects=True)


def test_every_attempt_is_told_with_its_worker_error_and_traceback(house: House, operator: FlaskClient) -> None:
    task_id = house.client.submit("divide", 1, 0)
    (ended,) = house.ended([task_id])

    page = operator.get(f"/tasks/{task_id}").text

    assert "Attempt 1 failed" in page
    assert "Attempt 2 failed" in page
    assert page.count("ZeroDivisionError: division by zero") >= 4  # two errors, two tracebacks
    assert page.count('aria-label="Traceback"') == 2
    assert f"to default, partition {ended.partition}" in page or ended.gen > 1
    assert f">{ended.worker}</a>" in page
    assert f'<a href="/tasks?q=group:{ended.fingerprint}">' in page


def test_an_error_that_is_no_unicode_text_is_shown_with_a_question_mark(house: House, operator: FlaskClient) -> None:
    task_id = house.client.options(retries=1).submit("garble", "prix \u20ac ")
    (ended,) = house.ended([task_id])

    page = operator.get(f"/tasks/{task_id}")

    assert ended.error == "ValueError: prix \u20ac ?"
    assert page.status_code == 200
    assert page.text.count("ValueError: prix \u20ac ?") >= 4  # two errors, two tracebacks


def test_result_and_arguments_are_drawn_whole_and_secrets_are_not_shown(house: House, operator: FlaskClient) -> None:
    task_id = house.client.submit("divide", 6, b=2, api_key="hunter2-secret", note="y" * 1000)
    house.ended([task_id])

    page = operator.get(f"/tasks/{task_id}").text

    assert '<span class="k">&#34;quotient&#34;</span>: <span class="n">3.0</span>' in page
    assert "y" * 1000 in page
    assert "hunter2" not in page
    assert "••••••" in page
    assert "1 by position, 3 by name" in page


def test_progress_and_log_lines_are_shown(house: House, operator: FlaskClient) -> None:
    task_id = house.client.submit("report")
    house.ended([task_id])

    page = eventually(lambda: told(operator.get(f"/tasks/{task_id}").text, "part 2 was slow"))

    assert "writing part &lt;3&gt;" in page
    assert 'value="30.0" aria-label="Progress of this task"' in page


def test_it_runs_again_with_other_arguments_once_per_form(house: House, operator: FlaskClient) -> None:
    old = house.client.submit("divide", 1, 0, api_key="hunter2-secret")
    house.ended([old])
    form = operator.get(f"/tasks/{old}/again").text

    answers = [send_again(operator, old, "[6]", '{"b": 3, "api_key": "••••••"}') for _ in range(2)]
    new = answers[0].location.split("/")[-1]
    (result,) = house.ended([new])

    assert "hunter2" not in form
    assert "divide(a: int, b: int = 1, **more: Any)" in form.replace("&#34;", '"')
    assert [answer.status_code for answer in answers] == [303, 303]
    assert answers[0].location == answers[1].location
    assert result.result == {"quotient": 2.0, "more": ["api_key"]}
    assert house.views.task(new).kwargs == {"b": 3, "api_key": "hunter2-secret"}
    assert f'by <b>ada</b> <a href="/tasks/{new}">' in operator.get(f"/tasks/{old}").text.replace("</span>", "")
    assert f'made it from <a href="/tasks/{old}">' in operator.get(f"/tasks/{new}").text


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ("[1,", "{}", "This is not JSON"),
        ("{}", "{}", "This must be a JSON list"),
        ("[]", "[]", "This must be a JSON object"),
        ("[" * 100_000, "{}", "This is not JSON"),
        ("[1]", '{"a": "' + "x" * 600_000 + '"}', "bytes"),
    ],
)
def test_what_cannot_be_sent_is_told_at_its_field(
    house: House, operator: FlaskClient, args: str, kwargs: str, words: str
) -> None:
    old = house.client.submit("refuse")

    answer = send_again(operator, old, args, kwargs)

    assert answer.status_code == 422
    assert words in answer.text
    assert args.replace('"', "&#34;") in answer.text  # what was typed is still there


def test_arguments_that_only_kafka_has_are_read_from_there_when_asked(
    house: House, web: Web, operator: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = "z" * 5000
    task_id = house.client.options(queue="unread").submit("divide", big)
    eventually(lambda: house.views.outbox_size() == 0)

    page = operator.get(f"/tasks/{task_id}").text
    whole = operator.get(f"/tasks/{task_id}?arguments=kafka").text
    monkeypatch.setattr(type(web.engine._broker), "read_back", away)
    trouble = operator.get(f"/tasks/{task_id}?arguments=kafka").text

    assert big not in page
    assert f'href="/tasks/{task_id}?arguments=kafka"' in page
    assert big in whole
    assert "Kafka is away" in trouble


def away(*_: Any) -> Any:
    raise BrokerUnavailable("Kafka is away")


def test_a_waiting_task_says_why(house: House, operator: FlaskClient) -> None:
    unread = house.client.options(queue="nobody-reads").submit("divide", 1)
    unknown = house.client.options(delay=600).submit("nobody-knows")

    assert "No worker that is online takes from the queue nobody-reads." in operator.get(f"/tasks/{unread}").text
    assert "It is scheduled for a later time." in operator.get(f"/tasks/{unknown}").text
    done = house.client.submit("divide", 1)
    house.ended([done])
    assert "Why is it waiting?" not in operator.get(f"/tasks/{done}").text


def test_retry_cancel_and_delete_are_told_with_who_did_them(house: House, web: Web, operator: FlaskClient) -> None:
    task_id = house.client.options(delay=600).submit("refuse")

    cancelled = act(operator, task_id, "cancel").text
    retried = act(operator, task_id, "retry").text
    house.ended([task_id])
    deleted = act(operator, task_id, "delete")

    assert "It is cancelled." in cancelled
    assert "Cancel asked for" in cancelled
    assert "<b>ada</b> retried it" in retried
    assert deleted.request.path == "/tasks"
    assert "The task is deleted." in deleted.text
    assert operator.get(f"/tasks/{task_id}").status_code == 404
    assert [entry.action for entry in web.engine.views.audit().items][:3] == ["delete", "retry", "cancel"]


def test_a_viewer_has_no_buttons(house: House, web: Web) -> None:
    task_id = house.client.submit("divide", 1)
    viewer = web.signed_in("viewer")

    page = viewer.get(f"/tasks/{task_id}").text

    assert "Edit and run again" not in page
    assert viewer.get(f"/tasks/{task_id}/again").status_code == 403


def test_records_ahead_are_told_and_a_silent_kafka_delays_no_page(
    house: House, web: Web, operator: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, last = house.client.options(queue="unread").submit_many([("divide", (n,)) for n in range(100)])
    eventually(lambda: house.views.result(last).offset is not None)
    ahead = house.views.result(last).offset

    page = eventually(lambda: ahead_of(operator.get(f"/tasks/{last}").text), every=0.2)
    monkeypatch.setattr(type(web.engine._broker), "survey", away)
    silent = eventually(lambda: told(operator.get(f"/tasks/{last}").text, "Kafka is away"), every=0.5)

    assert f"{ahead} records are ahead of it in partition" in page
    assert "No worker that is online takes from the queue unread." in silent


def ahead_of(page: str) -> str:
    return told(page, "records are ahead of it")


def told(page: str, words: str) -> str:
    return page if words in page else ""
