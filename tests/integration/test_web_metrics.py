"""/metrics as Prometheus reads it: with its own parser, from a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.helpers import House, new_settings
from tests.integration import web_tasks
from tests.integration.web_client import Web
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

TOKEN = {"Authorization": "Bearer the-token"}
Samples = dict[tuple[str, str], float]


@pytest.fixture
def web(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(**new_settings(kafka, redis_server)) as made:
        yield made


def scrape(web: Web) -> Samples:
    """All samples by name and the value of their label."""
    answer = web.stranger().get("/metrics", headers=TOKEN)
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, "".join(one.labels.values())): one.value for family in families for one in family.samples}


def test_before_anything_has_happened_everything_is_zero(web: Web) -> None:
    samples = scrape(web)

    assert samples["yadtq_tasks", "queued"] == 0
    assert samples["yadtq_tasks_ended_total", "success"] == 0
    assert samples["yadtq_task_run_seconds_count", ""] == 0
    assert samples["yadtq_workers_online", ""] == 0


def test_what_happened_is_counted(web: Web) -> None:
    names = ("topic", "group_id", "kafka_servers", "redis_url", "redis_prefix")
    with House({name: web.settings[name] for name in names}) as house:
        house.worker([web_tasks.add, web_tasks.fail], concurrency=3)
        good = house.client.submit_many([("add", (n, n)) for n in range(5)])
        house.ended([*good, house.client.options(retries=0).submit("fail")])
        house.client.options(queue="media").submit("add", 1, 1)
        house.client.options(delay=3600).submit("add", 1, 1)
        samples = scrape(web)

    assert samples["yadtq_tasks_ended_total", "success"] == 5
    assert samples["yadtq_tasks_ended_total", "failed"] == 1
    assert samples["yadtq_tasks", "failed"] == 1
    assert samples["yadtq_tasks", "scheduled"] == 1
    assert ("yadtq_tasks", "success") not in samples
    assert samples["yadtq_queue_backlog", "media"] == 1
    assert samples["yadtq_queue_oldest_wait_seconds", "media"] > 0
    assert samples["yadtq_workers_online", ""] == 1
    assert samples["yadtq_slots", ""] == 3


def test_lengths_of_time_are_buckets_that_only_grow(web: Web) -> None:
    """Across the end of a minute too, when its sums move on."""
    store = web.engine.store
    minute, ever = store.key("minute:", "60"), store.key("ever")
    store.client.set(store.key("open_minute"), 60)
    store.client.hset(minute, mapping={"r0": 2, "r1": 3, "r5": 1, "w41": 4, "success": 6})
    store.client.hset(ever, mapping={"r5": 10, "failed": 3})
    samples = scrape(web)

    assert samples["yadtq_task_run_seconds_bucket", "0.001"] == 2
    assert samples["yadtq_task_run_seconds_bucket", "0.002"] == 5
    assert samples["yadtq_task_run_seconds_bucket", "0.004"] == 16
    assert samples["yadtq_task_run_seconds_bucket", "+Inf"] == 16
    assert samples["yadtq_task_run_seconds_count", ""] == 16
    assert samples["yadtq_task_run_seconds_sum", ""] == pytest.approx(2 * 0.0005 + 3 * 0.00109 + 11 * 0.00218, rel=0.01)
    assert samples["yadtq_task_wait_seconds_bucket", "1.024"] == 0
    assert samples["yadtq_task_wait_seconds_bucket", "2.048"] == 4
    values = [samples[key] for key in samples if key[0] == "yadtq_task_run_seconds_bucket"]
    assert values == sorted(values)


def test_a_minute_that_is_over_is_counted_on(web: Web) -> None:
    names = ("topic", "group_id", "kafka_servers", "redis_url", "redis_prefix")
    with House({name: web.settings[name] for name in names}) as house:
        house.worker([web_tasks.add])
        house.ended([house.client.submit("add", 1, 1)])
        opened = int(house.redis.get(house.prefix + "open_minute") or 0)
        house.redis.rename(f"{house.prefix}minute:{opened}", f"{house.prefix}minute:{opened - 600}")
        house.redis.set(house.prefix + "open_minute", opened - 600)
        before = scrape(web)["yadtq_task_run_seconds_count", ""]
        house.ended([house.client.submit("add", 1, 1)])
        after = scrape(web)["yadtq_task_run_seconds_count", ""]

    assert (before, after) == (1, 2)


def test_a_stranger_is_told_of_the_token_in_json(web: Web) -> None:
    answer = web.stranger().get("/metrics")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Bearer TOKEN" in answer.get_json()["error"]


def test_a_viewers_token_and_a_viewers_browser_may_look(web: Web) -> None:
    token = web.accounts.create_api_token("prometheus", "viewer")

    assert web.stranger().get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert web.signed_in("viewer").get("/metrics").status_code == 200
