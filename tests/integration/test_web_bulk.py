"""Many tasks at once on the pages: ticked ones and all that match; asked first, done once, finished by whoever is there."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.helpers import eventually
from tests.integration.stored import end, submit
from tests.integration.web_client import Web, find_csrf_token
from tests.model.world import World
from webapp.driver import BulkDriver
from yadtq import TaskClient
from yadtq.api import yadtq_bulk
from yadtq.api.yadtq_bulk import BulkJob, BulkJobs
from yadtq.core.views import search
from yadtq.core.yadtq_views import Views
from yadtq.embedded import EmbeddedRedis

KEY = "0123456789abcdef"


@pytest.fixture(autouse=True)
def in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded machine ends no search early."""
    monkeypatch.setattr(search, "MOST_SECONDS", 30)


@pytest.fixture
def web(world: World, redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url, redis_prefix=world.prefix, kafka_servers=["localhost:1"]) as made:
        yield made


@pytest.fixture
def operator(web: Web) -> FlaskClient:
    return web.signed_in("operator")


def send(client: FlaskClient, action: str, ids: list[str] | None = None, **fields: str) -> Any:
    """The form of the task list, with these rows ticked."""
    data = {"csrf_token": find_csrf_token(client.get("/tasks").text), "form_key": KEY, "action": action, **fields}
    return client.post("/bulk", data={**data, "id": ids or []})


def press(client: FlaskClient, page: str, words: str) -> Any:
    """The button of a form on this page, as a browser without script would send it."""
    for form in re.findall(r"<form.*?</form>", page, re.DOTALL):
        if words in form:
            button = re.search(rf'<button[^>]*?(?:name="(\w+)" value="(\w+)")?[^>]*>(?:(?!</button>).)*{words}', form)
            fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
            data: dict[str, Any] = {}
            for name, value in fields:
                data.setdefault(name, []).append(unescape(value))
            named = re.search(r'name="action" value="(\w+)"', form)
            assert button
            action = re.search(r'action="([^"]+)"', form)
            return client.post(action[1], data={**data, **({"action": named[1]} if named else {})})
    raise AssertionError(f"no form with {words!r}")


def states(world: World) -> dict[str, str]:
    return {task.id: str(task.status) for task in Views(world).tasks(limit=500).items}


def job_of(web: Web, location: str) -> BulkJob:
    return web.engine.jobs().get(location.rsplit("/", 1)[1])


def finished(web: Web, location: str) -> BulkJob:
    def done() -> BulkJob | None:
        job = job_of(web, location)
        return job if job.finished else None

    return eventually(done)


def failed(world: World, count: int) -> list[str]:
    ids = [f"f{number:03}" for number in range(count)]
    for start in range(0, count, 50):
        submit(world, *ids[start : start + 50])
        end(world, *ids[start : start + 50])
    return ids


def test_ticked_rows_are_retried_and_what_cannot_be_says_why(world: World, operator: FlaskClient) -> None:
    ids = failed(world, 2)
    submit(world, "ended")
    end(world, "ended", kind="success", error="1")

    answer = send(operator, "retry", [*ids, "ended"], next="/tasks?status=failed")

    assert (answer.status_code, answer.location) == (303, "/tasks?status=failed")
    assert states(world) == {**dict.fromkeys(ids, "queued"), "ended": "success"}
    assert "2 of 3 tasks queued. 1 left alone: it is success." in operator.get(answer.location).text


def test_the_same_form_twice_acts_once_and_both_are_told_the_same(world: World, web: Web) -> None:
    (one,) = failed(world, 1)
    clients = [web.signed_in("operator") for _ in range(2)]
    data = [
        {"csrf_token": web.csrf_token(client), "form_key": KEY, "action": "retry", "id": [one]} for client in clients
    ]
    together = threading.Barrier(2)
    told: list[str] = []

    def click(client: FlaskClient, form: dict[str, Any]) -> None:
        together.wait()
        told.append(client.get(client.post("/bulk", data=form).location).text)

    threads = [threading.Thread(target=click, args=pair) for pair in zip(clients, data, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(told) == 2
    assert all("1 of 1 task queued." in page for page in told)
    assert Views(world).result(one).gen == 2
    assert [entry.action for entry in web.engine.views.audit().items].count("bulk retry") == 1


def test_the_same_key_with_other_rows_is_another_form(world: World, operator: FlaskClient) -> None:
    ids = failed(world, 2)
    for one in ids:
        send(operator, "retry", [one])

    assert states(world) == dict.fromkeys(ids, "queued")


@pytest.mark.parametrize(
    ("action", "left"), [("cancel", {"a": "cancelled", "b": "failed"}), ("delete", {"b": "failed"})]
)
def test_cancel_and_delete_of_ticked_rows_ask_first(
    world: World, operator: FlaskClient, action: str, left: dict[str, str]
) -> None:
    submit(world, "a", "b")
    end(world, "b")

    asked = send(operator, action, ["a"], next="/tasks?q=x")
    before = states(world)
    answer = press(operator, asked.text, f"{action.capitalize()} 1 task")

    assert before == {"a": "queued", "b": "failed"}
    assert answer.location == "/tasks?q=x"
    assert states(world) == left


def test_all_that_match_are_counted_before_and_done_after(world: World, web: Web, operator: FlaskClient) -> None:
    ids = failed(world, 3)
    submit(world, "other", "waits")
    end(world, "other", error="OSError: full")

    sent = send(operator, "retry", ids[:1], all="1", q="error:valueerror")
    page = operator.get(sent.location).text
    answer = press(operator, page, "Retry 3 tasks")
    job = finished(web, answer.location)

    assert sent.location == "/bulk?action=retry&q=error:valueerror"
    assert "<b>3 tasks</b> would be touched" in page
    assert (job.done, job.failed, job.by) == (3, 0, "ada")
    assert states(world) == {**dict.fromkeys(ids, "queued"), "other": "failed", "waits": "queued"}
    shown = operator.get(answer.location).text
    assert "Done" in shown
    assert "data-unfinished" not in shown
    assert "data-follows" in shown  # they wait: it goes on to tell what becomes of them
    assert web.engine.views.audit().items[0].action == "bulk retry"


def test_the_dry_run_names_only_what_each_action_can_touch(world: World, operator: FlaskClient) -> None:
    failed(world, 2)
    submit(world, "waits")

    page = operator.get("/bulk").text
    none = operator.get("/bulk?action=cancel&q=status:failed").text

    counts = re.findall(r"<b>(\d+) tasks?</b> would be touched", page)
    assert counts == ["2", "1", "3"]
    assert "<b>None</b> of the tasks that match can be cancelled" in none
    assert "disabled" in none


def test_a_dry_run_that_would_take_too_long_says_at_least(
    world: World, operator: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webapp.bulk._COUNTING", 0)
    monkeypatch.setattr("yadtq.core.views.search.NARROW_ROWS", 20)
    monkeypatch.setattr("yadtq.core.views.search.MOST_SECONDS", 0)
    monkeypatch.setattr("yadtq.core.views.search.FIRST_STRETCH", 20)
    failed(world, 50)

    page = operator.get("/bulk?action=retry&q=name:add").text

    assert "at least 20 tasks</b> would be touched: 20 of 50 were looked at" in page


def test_a_job_whose_process_died_is_finished_by_another(world: World, web: Web, redis_server: EmbeddedRedis) -> None:
    failed(world, 3)
    with TaskClient(web.engine._broker, world) as client:
        job = BulkJobs(client, world).start("status:failed", "delete", by="ada", form_key=KEY)
    # Its process is gone before the first step, and nobody has its page open. Somebody asks anything of this one.
    web.stranger().get("/login")

    assert finished(web, f"/bulk/{job.id}").done == 3
    eventually(lambda: yadtq_bulk.unfinished(world) == [])


def test_a_job_is_stopped_between_two_steps(world: World, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yadtq_bulk, "BATCH", 2)
    monkeypatch.setattr(BulkDriver, "wake", lambda self: None)
    monkeypatch.setattr(BulkDriver, "ensure", lambda self: None)
    failed(world, 5)
    operator = web.signed_in("operator")
    page = operator.get("/bulk?action=retry&q=status:failed").text
    location = press(operator, page, "Retry 5 tasks").location
    web.engine.jobs().step(location.rsplit("/", 1)[1])
    running = operator.get(location).text

    press(operator, running, "Stop")

    job = job_of(web, location)
    assert (job.done, job.stopped, job.finished) == (2, True, True)
    assert "data-unfinished" in running
    assert "Stopped" in operator.get(location).text
    assert list(states(world).values()).count("failed") == 3


def test_a_driver_goes_on_after_an_outage_and_past_a_job_that_is_gone(world: World) -> None:
    steps: list[str] = []

    class Jobs:
        def get(self, job_id: str) -> Any:
            return None

        def step(self, job_id: str) -> Any:
            steps.append(job_id)
            if len(steps) == 1:
                raise RuntimeError("a fault")
            world.client.zrem(world.key("jobs"), job_id)
            return job_id

    world.client.zadd(world.key("jobs"), {"one": 1})
    driver = BulkDriver(world, Jobs)  # type: ignore[arg-type, return-value]
    driver.ensure()
    eventually(lambda: len(steps) == 1)
    driver.wake()
    eventually(lambda: yadtq_bulk.unfinished(world) == [])
    driver.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"action": "drop", "sure": "1"}, "there is no bulk action"),
        ({"action": "retry", "sure": "1", "q": "status:done"}, "There is no status"),
        ({"action": "retry", "sure": "1", "form_key": ""}, "The form is incomplete"),
        ({"action": "delete"}, "No task is ticked"),
    ],
)
def test_a_form_that_cannot_be_is_refused(operator: FlaskClient, fields: dict[str, str], words: str) -> None:
    answer = send(operator, **{"action": "", **fields})

    assert answer.status_code == 400
    assert words.lower() in answer.text.lower()


def test_a_viewer_sees_a_job_and_no_way_to_start_or_stop_one(world: World, web: Web, operator: FlaskClient) -> None:
    failed(world, 1)
    viewer = web.signed_in("viewer")
    location = press(operator, operator.get("/bulk?action=retry").text, "Retry 1 task").location
    finished(web, location)

    assert "Looked at" in viewer.get(location).text
    assert viewer.get("/bulk").status_code == 403
    assert 'form="bulk" name="action"' not in viewer.get("/tasks").text
    assert send(viewer, "retry", ["f000"]).status_code == 403
    assert viewer.get("/bulk/unknown").status_code == 404
