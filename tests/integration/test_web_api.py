"""The JSON API: tokens, shapes, and errors as one sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.helpers import new_settings
from tests.integration.web_client import Web
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

TOKEN = {"Authorization": "Bearer the-token"}


@pytest.fixture
def web(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(**new_settings(kafka, redis_server)) as made:
        yield made


@pytest.fixture
def client(web: Web) -> FlaskClient:
    return web.stranger()


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic the-token", "Bearer"])
def test_without_a_good_token_nothing_is_answered(client: FlaskClient, header: str | None) -> None:
    answer = client.get("/api/v1/tasks", headers={"Authorization": header} if header else {})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Bearer TOKEN" in answer.get_json()["error"]


def test_a_cookie_reads_but_never_changes(web: Web) -> None:
    client = web.signed_in("admin")

    assert client.get("/api/v1/tasks").status_code == 200
    assert client.post("/api/v1/tasks", json={"name": "add"}).status_code == 401


def test_a_token_made_for_a_role_has_that_role(web: Web, client: FlaskClient) -> None:
    header = {"Authorization": f"Bearer {web.accounts.create_api_token('grafana', 'viewer')}"}

    assert client.get("/api/v1/stats", headers=header).status_code == 200
    refused = client.post("/api/v1/tasks", json={"name": "add"}, headers=header)
    assert refused.status_code == 403
    assert "takes the role operator" in refused.get_json()["error"]


def test_a_task_from_submit_to_retry(client: FlaskClient) -> None:
    body = {"name": "add", "args": [2], "kwargs": {"b": 3}, "options": {"queue": "media", "delay": 60}}

    made = client.post("/api/v1/tasks", json=body, headers=TOKEN)
    task = made.get_json()
    path = f"/api/v1/tasks/{task['id']}"
    too_early = client.post(f"{path}/retry", headers=TOKEN)
    cancelled = client.post(f"{path}/cancel", headers=TOKEN).get_json()
    retried = client.post(f"{path}/retry", headers=TOKEN).get_json()

    assert (made.status_code, made.location) == (201, path)
    assert (task["name"], task["queue"], task["status"]) == ("add", "media", "scheduled")
    assert task["args_preview"] == "2, b=3"
    assert cancelled["status"] == "cancelled"
    assert retried["status"] == "queued"
    assert too_early.status_code == 409
    assert "can be retried" in too_early.get_json()["error"]
    assert client.get(path, headers=TOKEN).get_json()["id"] == task["id"]


def test_lists_come_in_pages(web: Web, client: FlaskClient) -> None:
    ids = web.engine.client.submit_many([("add", (n,)) for n in range(5)])

    first = client.get("/api/v1/tasks?limit=3", headers=TOKEN).get_json()
    second = client.get(f"/api/v1/tasks?limit=3&cursor={first['next']}", headers=TOKEN).get_json()
    queued = client.get("/api/v1/tasks?status=queued&order=oldest", headers=TOKEN).get_json()

    assert {item["id"] for item in first["items"] + second["items"]} == set(ids)
    assert second["next"] is None
    assert len(queued["items"]) == 5


def test_figures(web: Web, client: FlaskClient) -> None:
    web.engine.client.submit("add", 1)

    stats = client.get("/api/v1/stats", headers=TOKEN).get_json()

    assert stats["counts"]["queued"] == 1
    assert len(stats["minutes"]) == 60
    assert stats["outbox"] in (0, 1)  # until Kafka has acknowledged it
    assert client.get("/api/v1/workers", headers=TOKEN).get_json() == {"items": []}
    [queue] = client.get("/api/v1/queues", headers=TOKEN).get_json()["items"]
    assert (queue["name"], queue["queued"]) == ("default", 1)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ([], 400, "Send a JSON object"),
        ({"args": []}, 400, "Send a JSON object"),
        ({"name": "add", "args": {}}, 400, "'args' must be an array"),
        ({"name": "add", "argument": 1}, 400, "There is no field 'argument'"),
        ({"name": "add", "options": {"priority": 1}}, 400, "There is no field 'options.priority'"),
        ({"name": "add", "options": {"delay": -1}}, 400, "0 or more"),
        ({"name": "a b"}, 400, "must be 1 to 128 of the characters"),
        ({"name": "add", "args": ["x" * 600_000]}, 413, "more than 524,288"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_a_sentence(
    client: FlaskClient, body: Any, status: int, words: str
) -> None:
    answer = client.post("/api/v1/tasks", json=body, headers=TOKEN)

    assert answer.status_code == status
    assert words in answer.get_json()["error"]


def test_unknown_things_are_json_too(client: FlaskClient) -> None:
    for path in ("/api/v1/tasks/none", "/api/v1/nothing"):
        answer = client.get(path, headers=TOKEN)
        assert answer.status_code == 404
        assert answer.get_json()["error"]
