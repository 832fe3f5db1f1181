"""The OpenAPI document and the app say the same: every route, every parameter, the shape of every answer."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from werkzeug.test import TestResponse

from tests.helpers import House, eventually, new_settings
from tests.integration import web_tasks
from tests.integration.web_client import Web
from webapp.access import ROLES
from webapp.api import OPERATIONS, Operation, many, reads, tasks, workers
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

TOKEN = {"Authorization": "Bearer the-token"}
PLACE = re.compile(r"<(\w+)>")


class Api:
    """Calls by the name of the operation, each answer held against the document."""

    def __init__(self, web: Web) -> None:
        self.client: FlaskClient = web.stranger()
        self.document = self.client.get("/api/v1/openapi.json", headers=TOKEN).get_json()
        self.called: set[tuple[str, int]] = set()

    def __call__(self, name: str, body: Any = None, *, status: int = 0, query: str = "", **place: str) -> Any:
        wanted = OPERATIONS[name]
        path = "/api/v1" + PLACE.sub(lambda found: place[found[1]], wanted.path)
        answer = self.client.open(f"{path}?{query}", method=wanted.method, json=body, headers=TOKEN)
        assert answer.status_code == (status or wanted.status), (name, answer.text)
        self.called.add((name, answer.status_code))
        self._hold_against_document(wanted, answer)
        return answer.get_json(silent=True)

    def _hold_against_document(self, wanted: Operation, answer: TestResponse) -> None:
        path = "/api/v1" + PLACE.sub(r"{\1}", wanted.path)
        described = self.document["paths"][path][wanted.method.lower()]["responses"][str(answer.status_code)]
        if "content" not in described:
            assert answer.data == b""
            return
        schema = {**described["content"]["application/json"]["schema"], "components": self.document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.get_json())


@pytest.fixture
def web(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(**new_settings(kafka, redis_server)) as made:
        yield made


@pytest.fixture
def api(web: Web) -> Api:
    return Api(web)


def test_the_document_is_valid_openapi(api: Api) -> None:
    validate(api.document)


def test_every_route_is_described_and_nothing_else(web: Web, api: Api) -> None:
    served = {
        (PLACE.sub(r"{\1}", rule.rule), method.lower(), rule.endpoint)
        for rule in web.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/api/")
    }
    described = {
        (path, method, f"api.{one['operationId']}")
        for path, methods in api.document["paths"].items()
        for method, one in methods.items()
    }
    roles = {f"api.{one['operationId']}": one["x-role"] for m in api.document["paths"].values() for one in m.values()}

    assert described == served
    assert roles == {endpoint: role for endpoint, role in ROLES.items() if endpoint.startswith("api.")}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_view_takes_what_is_described_and_no_more(api: Api, name: str) -> None:
    one = OPERATIONS[name]
    view = next(getattr(module, name) for module in (tasks, many, reads, workers) if hasattr(module, name))
    path = "/api/v1" + PLACE.sub(r"{\1}", one.path)
    described = api.document["paths"][path][one.method.lower()]
    body = described.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    names = [parameter["name"] for parameter in described["parameters"]] + list(body.get("properties", {}))

    assert sorted(names) == sorted(inspect.signature(view).parameters)
    assert described["summary"].endswith(".")


def test_every_operation_answers_as_described(web: Web, api: Api) -> None:
    names = ("topic", "group_id", "kafka_servers", "redis_url", "redis_prefix")
    with House({name: web.settings[name] for name in names}) as house:
        house.worker([web_tasks.add, web_tasks.fail])
        added = api("submit", {"name": "add", "args": [1], "kwargs": {"b": 2}})["id"]
        failed = api("submit", {"name": "fail", "options": {"retries": 0}})["id"]
        secret = api("submit", {"name": "add", "kwargs": {"password": "hunter2"}, "options": {"queue": "none"}})["id"]
        assert "hunter2" not in json.dumps(api("task", task_id=secret))
        masked = api("task", task_id=secret)["kwargs"]
        copied = api("resubmit", {"kwargs": {**masked, "b": 1}}, task_id=secret)["id"]
        assert web.engine.views.task(copied).kwargs == {"password": "hunter2", "b": 1}
        api("bulk", {"action": "delete", "ids": [secret, copied]})
        later = api("submit", {"name": "add", "args": [1], "options": {"delay": 3600, "key": "once"}})["id"]
        house.ended([added, failed])
        [group] = api("failures")["items"]
        [worker] = api("workers")["items"]
        api("worker", worker_id=worker["id"])
        api("detach", status=409, task_id=added)
        assert api("pause_worker", worker_id=worker["name"])["worker"] == worker["id"]
        api("resume_worker", worker_id=worker["id"])
        api("shut_down_worker", worker_id=worker["id"])
        assert [one["name"] for one in api("functions")["items"]] == ["add", "fail"]
        api("queues")
        assert [one["text"] for one in api("suggestions", query="word=name:a")["items"]] == ["name:add", "name:fail"]
        eventually(lambda: {web.settings["topic"]} <= {one["topic"] for one in api("kafka")["partitions"]})
        api("rejected")
        api("stats")
    for task_id in (added, failed, later):
        api("task", task_id=task_id)
    assert api("tasks", query="q=name:fail&status=failed&order=oldest&limit=1")["items"][0]["id"] == failed
    assert api("count", query="q=name:add")["matching"] == 2
    assert api("failure", fingerprint=group["fingerprint"], query="limit=5")["items"][0]["id"] == failed
    assert any(point["ran"]["count"] for point in api("rates", query="span=24h")["items"])
    api("rates")

    assert api("cancel", task_id=later)["status"] == "cancelled"
    assert api("retry", task_id=later)["status"] == "queued"
    again = api("resubmit", {"args": [5], "kwargs": {}, "key": "again"}, task_id=added)
    assert again["args_preview"] == "5"
    assert api("resubmit", {"args": [5], "kwargs": {}, "key": "again"}, task_id=added)["id"] == again["id"]
    outcome = api("bulk", {"action": "cancel", "ids": [again["id"], added]})
    assert (outcome["done"], list(outcome["refused"])) == ([again["id"]], [added])
    job = api("start_job", {"action": "delete", "q": "status:cancelled", "key": "k"})
    assert api("start_job", {"action": "delete", "q": "status:cancelled", "key": "k"})["id"] == job["id"]
    eventually(lambda: api("job", job_id=job["id"])["finished_at"])
    assert api("stop_job", job_id=job["id"])["done"] == 1
    replay = api("replay", {}, fingerprint=group["fingerprint"])
    assert replay["total"] == 1
    eventually(lambda: api("job", job_id=replay["id"])["done"] == 1)
    api("retry", status=409, task_id=added)
    api("delete", task_id=added)
    assert api("audit", query="limit=3")["items"][0]["action"] == "delete"

    api("task", status=404, task_id="none")
    api("worker", status=404, worker_id="none")
    api("pause_worker", status=404, worker_id="none")
    api("job", status=404, job_id="none")
    api("submit", {"name": "a b"}, status=400)
    api("submit", {"name": "add", "args": ["x" * 600_000]}, status=413)

    assert {name for name, status in api.called if status < 300} | {"detach"} == set(OPERATIONS)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("colour=red", "There is no parameter 'colour'; the parameters are q, status"),
        ("limit=0", "'limit' must be from 1 to 500"),
        ("limit=501", "'limit' must be from 1 to 500"),
        ("limit=many", "'limit' must be a whole number"),
        ("status=lost", "'status' must be one of scheduled, queued"),
        ("order=best", "'order' must be one of newest, oldest"),
        ("q=colour:red", "There is no colour: to search by"),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused_in_a_sentence(api: Api, query: str, words: str) -> None:
    assert words in api("tasks", status=400, query=query)["error"]


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("bulk", {"action": "retry"}, "Send a JSON object with 'action' and 'ids'"),
        ("bulk", {"action": "burn", "ids": ["x"]}, "'action' must be one of retry, cancel, delete"),
        ("bulk", {"action": "retry", "ids": []}, "'ids' must be from 1 to 1,000 entries"),
        ("bulk", {"action": "retry", "ids": [1]}, "'ids' must hold strings only"),
        ("start_job", {"action": "retry", "q": 5}, "'q' must be a string"),
        ("start_job", {"action": "retry", "q": "status:lost"}, "There is no status 'lost'"),
        ("submit", {"name": None}, "'name' must be a string"),
        ("submit", {"name": "add", "options": {"retries": True}}, "'options.retries' must be an integer"),
    ],
)
def test_a_body_that_cannot_be_used_is_refused_in_a_sentence(api: Api, name: str, body: Any, words: str) -> None:
    assert words in api(name, body, status=400)["error"]
