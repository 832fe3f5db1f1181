"""What a person sees of each row of docs/guarantees.md: in a worker's log, once; on the pages; in doctor's words."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from kafka import KafkaAdminClient

from tests.conftest import started_or_skipped
from tests.helpers import House, eventually, new_settings
from tests.integration.web_client import Web
from yadtq import ResultStoreUnavailable
from yadtq.cli import main
from yadtq.core import yadtq_result_db
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A Kafka that these tests may kill."""
    server = EmbeddedKafka(tmp_path_factory.mktemp("own-kafka"), ports=[0])
    yield started_or_skipped(server)
    server.stop()


@pytest.fixture
def house(own_kafka: EmbeddedKafka, own_redis: EmbeddedRedis) -> Iterator[House]:
    own_redis.start()
    own_kafka.start()
    with House(new_settings(own_kafka, own_redis, time_scale=0.2, partitions=2)) as house:
        yield house
        own_redis.start()
        own_kafka.start()


@pytest.fixture
def web(house: House) -> Iterator[Web]:
    """The pages on the servers and names of the house."""
    with Web(house.settings["redis_url"], **{k: v for k, v in house.settings.items() if k != "redis_url"}) as web:
        yield web


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """YADTQ's warnings so far that hold these words."""
    caplog.set_level(logging.INFO, logger="yadtq")

    def lines(words: str) -> list[str]:
        ours = [record for record in caplog.records if record.name.startswith("yadtq.")]
        return [text for one in ours if one.levelno >= logging.WARNING and words in (text := one.getMessage())]

    return lines


def add(a: int, b: int) -> int:
    return a + b


# -- a worker's start ------------------------------------------------------------------------------------


def test_a_worker_that_starts_names_what_is_wrong_with_redis_and_the_remedy(
    house: House, warned: Callable[[str], list[str]]
) -> None:
    bad = {"appendonly": "no", "maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
    before = {name: house.redis.config_get(name)[name] for name in bad}
    for name, value in bad.items():
        house.redis.config_set(name, value)
    try:
        house.worker({"add": add})
        eventually(lambda: warned("Redis on disk: append-only file is off; set appendonly yes"))
        eventually(lambda: warned("policy allkeys-lru; set maxmemory-policy noeviction"))
    finally:
        for name, value in before.items():
            house.redis.config_set(name, value)


def test_a_sound_start_says_nothing(house: House, warned: Callable[[str], list[str]]) -> None:
    house.worker({"add": add})
    task_id = house.client.submit("add", 1, 2)
    assert house.client.wait_for_result(task_id, timeout=20).ok
    assert warned("") == []


def test_a_worker_process_for_which_there_is_no_partition_is_told_of(
    house: House, warned: Callable[[str], list[str]]
) -> None:
    for _ in range(3):
        house.worker({"add": add}, ready=0)
        eventually(house.views.workers)
    (line, *_) = eventually(lambda: warned("has 2 partitions for 3 worker processes: 1 of them get no tasks"), 30)
    assert "kafka-topics.sh --alter" in line
    assert "has 2 partitions for 3 worker processes" in _doctor(house)


def test_a_clock_that_is_hours_off_is_told_by_worker_doctor_and_page(
    house: House, web: Web, warned: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_hours_on() -> float:
        return time.time() + 7210  # a little more: a beat is some milliseconds on its way

    clock = SimpleNamespace(time=two_hours_on, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(yadtq_result_db, "time", clock)
    monkeypatch.setattr("yadtq.core.yadtq_heartbeat.time", clock)
    house.worker({"add": add})
    eventually(lambda: warned("clocks: Redis and this machine are 2.0 hours apart; synchronise both clocks with NTP"))
    assert "Redis and this machine are 2.0 hours apart" in _doctor(house)  # where doctor runs beside the worker
    monkeypatch.setattr(yadtq_result_db, "time", time)
    # Where it runs elsewhere, from the worker's first beat on.
    eventually(lambda: re.search("the machine of worker .* are 2.0 hours apart", _doctor(house)))
    page = web.signed_in("viewer")
    eventually(lambda: "is 2 h 0 min ahead of Redis" in page.get("/").text.replace("&#39;", "'"), every=0.3)


def test_a_redis_that_is_too_old_is_named_at_the_first_use(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """None can be run here: this is the answer of one."""
    house.redis.script_flush()
    monkeypatch.setattr(house.store.client, "info", lambda *_: {"redis_version": "6.0.16"})
    with pytest.raises(
        ResultStoreUnavailable, match=r"is version 6\.0\.16; YADTQ needs 6.2 or newer, please upgrade it"
    ):
        house.client.submit("add", 1, 2)


# -- Kafka -----------------------------------------------------------------------------------------------


def test_kafka_that_goes_under_an_idle_worker_is_told_once_and_its_return_once(
    house: House, web: Web, own_kafka: EmbeddedKafka, warned: Callable[[str], list[str]]
) -> None:
    house.worker({"add": add})
    page = web.signed_in("viewer")
    own_kafka.nodes[0].kill()
    eventually(lambda: warned("Kafka at"), 15)
    eventually(lambda: house.views.workers()[0].kafka_trouble, 15)
    for number in range(3):
        house.client.submit("add", number, 1)
    words = "Kafka cannot be reached: 3 tasks wait in the outbox."
    eventually(lambda: words in page.get("/").text and words in page.get("/tasks").text, 15, every=0.3)
    assert _names(web) == ["kafka-away"]
    own_kafka.start()
    eventually(lambda: house.views.outbox_size() == 0, 30)
    eventually(lambda: not house.views.workers()[0].kafka_trouble, 30)
    eventually(lambda: _names(web) == [], 30, every=0.3)
    eventually(lambda: warned("Kafka answers again after"))
    # Web, client and worker are three brokers of this one process.
    assert len(warned("Kafka at")) <= 3
    assert len(warned("Kafka answers again after")) <= 3


def test_a_topic_that_somebody_deleted_is_made_anew_and_nothing_waits_for_ever(
    house: House, own_kafka: EmbeddedKafka
) -> None:
    gone = house.client.submit("add", 1, 1)
    eventually(lambda: house.views.outbox_size() == 0, 20)
    admin = KafkaAdminClient(bootstrap_servers=own_kafka.bootstrap_servers)
    admin.delete_topics([house.settings["topic"]])
    eventually(lambda: house.settings["topic"] not in admin.list_topics())
    admin.close()
    task_id = house.client.submit("add", 2, 2)
    worker = house.worker({"add": add}, ready=40)
    assert house.client.wait_for_result(task_id, timeout=60).result == 4
    house.redis.zincrby(f"{house.prefix}index:queued", -3600e6, gone)  # as if an hour had passed
    worker._keeper.audit()
    assert house.client.wait_for_result(gone, timeout=20).result == 2


def test_what_waits_long_although_kafka_answers_is_told_of(house: House, web: Web) -> None:
    """Nobody sends it: the client is gone, and no worker is there."""
    task_id = house.client.submit("add", 1, 1)
    eventually(lambda: house.views.outbox_size() == 0, 20)
    house.redis.zadd(f"{house.prefix}outbox", {task_id: 0})
    eventually(lambda: _names(web) == ["outbox-stuck"], 20, every=0.3)
    assert "Not in Kafka yet: 1 task waits in the outbox." in web.signed_in("viewer").get("/tasks").text


# -- Redis -----------------------------------------------------------------------------------------------


def test_a_full_redis_is_on_every_page_and_a_submit_says_so(house: House, web: Web) -> None:
    page = web.signed_in("operator")
    token = web.csrf_token(page)
    house.redis.config_set("maxmemory", "1mb")
    try:
        eventually(lambda: "<b>Redis is full.</b>" in page.get("/tasks").text, every=0.3)
        answer = page.post("/submit", data={"task": "add", "json": '{"args": [1, 2]}', "csrf_token": token})
        assert answer.status_code == 503
        assert "Redis is full (maxmemory reached): nothing new is accepted" in answer.text
        assert "data-until-ready" not in answer.text  # the page would reload, and so submit, again and again
        told = CliRunner().invoke(main, ["doctor", "--json", "--redis", house.settings["redis_url"]]).output
        assert "it is full" in told
    finally:
        house.redis.config_set("maxmemory", "0")
    eventually(lambda: "<b>Redis is full.</b>" not in page.get("/tasks").text, every=0.3)


def test_what_was_rebuilt_dropped_and_rejected_is_counted_and_shown(house: House, web: Web) -> None:
    row = ("lost-1", 1, "add", "default", house.store.time_ms(), "", b"x\n{}", "[[1,2],{}]", "")
    house.store.rebuild([row])
    house.store.finish("gone", [("lost-1", "gone:1", "success", b"3", b"", "", 0, "")])
    house.broker.ensure_topics([house.settings["topic"]])
    house.worker({"add": add})
    house.broker.producer().send(house.settings["topic"], b"not json", key=b"k")
    eventually(lambda: house.views.totals().get("rejected") == 1, 20)
    answer = web.stranger().get("/api/v1/stats", headers={"Authorization": "Bearer the-token"}).get_json()
    assert answer["totals"] == {"fenced": 1, "rebuilt": 1, "rejected": 1}
    assert sum(minute["rebuilt"] for minute in answer["minutes"]) == 1
    page = eventually(lambda: text if "rejected" in (text := web.signed_in("viewer").get("/").text) else "", every=0.3)
    for words in (
        "State rebuilt from Kafka: 1 task in the last hour.",
        "1 late outcome was dropped in the last hour.",
        "1 record was rejected in the last hour.",
    ):
        assert words in page


def _doctor(house: House) -> str:
    """What it says from a shell that has the settings of the house."""
    arguments = ["--redis", house.settings["redis_url"], "--kafka", house.settings["kafka_servers"][0]]
    env = {"YADTQ_TOPIC": house.settings["topic"], "YADTQ_REDIS_PREFIX": house.prefix}
    return CliRunner().invoke(main, ["doctor", "--json", *arguments], env=env).output


def _names(web: Web) -> list[Any]:
    return list(web.stranger().get("/readyz").get_json()["alarms"])
