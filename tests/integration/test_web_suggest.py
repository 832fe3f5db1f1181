"""What the search box suggests: the conditions there are, and the values that are known, few at a time and whatever they hold."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.integration.hostile import PAYLOADS, RUNNING, Planted
from tests.integration.stored import end, submit
from tests.integration.web_client import Web
from tests.model.world import World
from yadtq.core.yadtq_heartbeat import About

BOX = About("box-1", "here", "0", queues=("default", "media"), concurrency=1, pool="thread", functions=[])


def announce(world: World, inc: str, name: str, *functions: str, doc: str = "Does it.") -> None:
    told = [{"name": one, "doc": doc, "params": []} for one in functions]
    world.beat(inc, json.dumps(asdict(replace(BOX, name=name, functions=told))), "{}", [])


def ask(client: FlaskClient, word: str) -> dict[str, Any]:
    answer = client.get("/api/v1/suggestions", query_string={"word": word})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def texts(client: FlaskClient, word: str) -> list[str]:
    return [one["text"] for one in ask(client, word)["items"]]


def notes(client: FlaskClient, word: str) -> dict[str, str]:
    return {one["text"]: one["note"] for one in ask(client, word)["items"]}


def test_an_empty_word_lists_every_condition_and_how_to_negate_one(viewer: FlaskClient) -> None:
    every = ["name:", "status:", "queue:", "worker:", "args:", "error:", "reason:", "after:", "before:", "-"]

    assert texts(viewer, "") == every
    assert all(notes(viewer, "").values())
    assert texts(viewer, "-") == [f"-{one}" for one in every[:7]]  # times are not negated, nor is a negation


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("r", ["reason:", "worker:", "args:", "error:", "after:", "before:"]),
        ("RE", ["reason:", "before:"]),
        ("name", ["name:"]),
        ("-qu", ["-queue:"]),
        ("resize", []),
        ('"queue', []),
        ("args:", []),
        ("colour:", []),
        ("http://", []),
        ("status:fail", ["status:failed"]),
        ("status:failed", []),
        ("STATUS:Fail", ["status:failed"]),
        ("status:failed,expi", ["status:failed,expired"]),
        ("status:failed,faile", []),
        ("reason:timeout,wo", ["reason:timeout,worker_lost"]),
        ("after:1", ["after:15m", "after:1h"]),
    ],
)
def test_a_word_is_completed(viewer: FlaskClient, word: str, expected: list[str]) -> None:
    assert texts(viewer, word) == expected


def test_names_are_those_that_workers_announce_and_those_of_the_newest_tasks(world: World, viewer: FlaskClient) -> None:
    announce(world, "w1", "box-1", "media.resize", "mail.send", doc="Sends   it,\nsurely. " * 20)
    submit(world, "a", name="media.resize")
    submit(world, "b", name="old.resize")

    found = notes(viewer, "name:res")

    assert list(found) == ["name:media.resize", "name:old.resize"]
    assert found["name:old.resize"] == "no worker online knows it"
    assert found["name:media.resize"].startswith("Sends")
    assert len(found["name:media.resize"]) <= 80
    assert texts(viewer, "-name:MAIL") == ["-name:mail.send"]
    assert texts(viewer, 'name:"mai') == ["name:mail.send"]


def test_queues_workers_and_states_come_with_a_word_on_them(world: World, viewer: FlaskClient) -> None:
    announce(world, "w1", "box-1")
    world.pass_time(40_000)
    announce(world, "w2", "box-2")
    submit(world, "a", "b", queue="mail")
    submit(world, "c")
    end(world, "c")

    assert notes(viewer, "queue:") == {
        "queue:default": "0 waiting",
        "queue:mail": "2 waiting",
        "queue:media": "0 waiting",
    }
    assert notes(viewer, "worker:box") == {"worker:box-2": "online", "worker:box-1": "offline"}
    assert notes(viewer, "status:")["status:failed"] == "1"
    assert notes(viewer, "status:")["status:queued"] == "2"


def test_a_thousand_names_are_ten_and_a_number(world: World, viewer: FlaskClient) -> None:
    announce(world, "w1", "box-1", *(f"task_{number:04}" for number in range(1_000)), doc="x" * 10_000)

    answer = viewer.get("/api/v1/suggestions?word=name:task")

    assert answer.get_json()["total"] == 1_000
    assert len(answer.get_json()["items"]) == 10
    assert len(answer.data) < 4_000
    assert len(viewer.get("/tasks").data) < 40_000


@pytest.mark.parametrize("payload", [*PAYLOADS, RUNNING], ids=range(len(PAYLOADS) + 1))
def test_hostile_names_are_no_names_and_hostile_notes_are_text(web: Web, payload: str) -> None:
    Planted(web.engine.store, payload)
    client = web.signed_in("viewer")

    for word in ("name:", "queue:", "worker:", "-name:z", f"name:{payload}", f"queue:{payload},", payload):
        answer = client.get("/api/v1/suggestions", query_string={"word": word})
        assert answer.mimetype == "application/json"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert not [one for one in answer.get_json()["items"] if payload in one["text"]], word
    assert notes(client, "name:pl") == {"name:plain": f"z-doc:{payload}"[:80]}
