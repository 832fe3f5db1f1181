"""Figures over time, groups of failures, waiting, and the audit log, as a page reads them from a real Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pytest

from tests.helpers import House, eventually
from tests.integration.stored import claim, end, end_as, submit, token
from tests.model.world import World
from yadtq.core.yadtq_fingerprint import fingerprint
from yadtq.core.yadtq_histogram import Histogram
from yadtq.core.yadtq_views import Views, record_action

DAY = 86_400


def test_what_happened_in_the_last_minute_is_told_at_once(world: World, views: Views) -> None:
    submit(world, "a", "b", "c", "d")
    world.pass_time(5_000)
    end(world, "a", "b", kind="success", error="1")
    end(world, "c")
    world.cancel("d", world.time_ms())
    for span, points in (("1h", 60), ("24h", 96), ("7d", 168)):
        rates = views.rates(span)  # type: ignore[arg-type]
        assert len(rates) == points
        assert [rate.start for rate in rates] == sorted(rate.start for rate in rates)
        both = rates[-2:]  # a minute may have ended since
        assert sum(rate.success for rate in both) == 2
        assert (sum(rate.failed for rate in both), sum(rate.cancelled for rate in both)) == (1, 1)
        waited = Histogram.sum(rate.waited for rate in both)
        assert waited.total == 3
        assert waited.percentile(0.5) == pytest.approx(5, rel=0.1)
        assert Histogram.sum(rate.ran for rate in both).total == 3
        assert json.dumps([asdict(rate) for rate in rates])


def test_a_minute_is_folded_into_its_quarter_and_hour_when_the_next_one_begins(world: World, views: Views) -> None:
    submit(world, "a", "b")
    end(world, "a")
    earlier = rename_open_minute(world, -600)
    end(world, "b")
    for span in ("1h", "24h", "7d"):
        assert sum(rate.failed for rate in views.rates(span)) == 2, span  # type: ignore[arg-type]
    quarter, hour = earlier - earlier % 900, earlier - earlier % 3600
    assert world.plain.hget(world.key("quarter:", str(quarter)), "failed") == "1"
    assert world.plain.hget(world.key("hour:", str(hour)), "failed") == "1"
    assert 0 < world.plain.ttl(world.key("minute:", str(earlier))) <= 25 * 3600
    assert 0 < world.plain.ttl(world.key("hour:", str(hour))) <= 8 * DAY


def test_what_is_over_is_read_once_and_belongs_to_its_data_set(world: World, views: Views) -> None:
    submit(world, "a", "b")
    end(world, "a")
    earlier = rename_open_minute(world, -3600)
    end(world, "b")
    first = views.rates("24h")
    quarter = world.key("quarter:", str(earlier - earlier % 900))
    world.plain.hset(quarter, "failed", 5)
    open_minute = int(str(world.plain.get(world.key("open_minute"))))
    world.plain.hset(world.key("minute:", str(open_minute)), "failed", 7)

    again = views.rates("24h")
    world.plain.set(world.key("epoch"), "another")
    anew = views.rates("24h")

    assert sum(rate.failed for rate in first) == 2
    assert sum(rate.failed for rate in again) == 8  # the past as remembered, the open minute as it is
    assert sum(rate.failed for rate in anew) == 12


def rename_open_minute(world: World, seconds: int) -> int:
    """As if what was counted had been counted in another minute; returns its start."""
    start = int(str(world.plain.get(world.key("open_minute"))))
    world.plain.rename(world.key("minute:", str(start)), world.key("minute:", str(start + seconds)))
    world.plain.set(world.key("open_minute"), start + seconds)
    return start + seconds


def test_a_clock_set_back_counts_nothing_twice(world: World, views: Views) -> None:
    submit(world, "a", "b")
    end(world, "a")
    ahead = rename_open_minute(world, 300)
    end(world, "b")
    assert world.plain.get(world.key("open_minute")) == str(ahead)
    assert world.plain.hget(world.key("minute:", str(ahead)), "failed") == "2"
    assert not world.plain.keys(world.key("hour:") + "*")


def test_failures_are_grouped_by_what_went_wrong(world: World, views: Views) -> None:
    ids = [f"t{number}" for number in range(6)]
    submit(world, *ids)
    for number, task_id in enumerate(ids):
        error = f"KeyError: 'a{number}'" if number < 4 else "OSError: disk full"
        item = (task_id, "w:0", "failed", error, fingerprint("add", error), "error", 0, "")
        end_as(world, item)
    newest, other = views.failure_groups()
    assert (newest.name, newest.error, newest.reason, newest.count) == ("add", "OSError: disk full", "error", 2)
    assert newest.sample_ids == ["t5", "t4"]
    assert (other.count, other.error) == (4, "KeyError: 'a3'")
    assert other.first_at <= other.last_at <= newest.first_at
    assert (len(other.per_hour), sum(other.per_hour), other.per_hour[-1]) == (24, 4, 4)
    assert [item.id for item in views.failed_of(other.fingerprint, limit=3).items] == ["t3", "t2", "t1"]
    assert views.result("t0").fingerprint == other.fingerprint
    assert json.dumps([asdict(group) for group in views.failure_groups()])
    world.retry("t5", world.time_ms())
    world.delete_many(["t4", "t0"])
    (left,) = views.failure_groups()
    assert (left.fingerprint, left.count) == (other.fingerprint, 3)
    assert not world.plain.exists(world.key("group:", newest.fingerprint))


def test_groups_age_with_their_tasks(world: World, views: Views) -> None:
    submit(world, "old", "same", "young", "alike")
    end(world, "old", "same")
    world.pass_time(15_000_000)
    end(world, "young", error="OSError: other")
    end(world, "alike")
    assert {group.count for group in views.failure_groups()} == {3, 1}
    world.pass_time(6_000_000)  # past the 20,000 s that a failed task lives here
    world.due(10)
    assert [group.sample_ids for group in views.failure_groups()] == [["alike"], ["young"]]
    assert [group.count for group in views.failure_groups()] == [1, 1]
    assert world.picture().index("failed") == {"young", "alike"}
    world.pass_time(16_000_000)
    world.due(10)
    assert not [name for name in world.picture().zsets if name.startswith("group")]


def test_a_busy_group_ages_behind_a_thousand_quiet_ones(world: World, views: Views) -> None:
    """Only the quietest ones are looked through for tasks whose time is over."""
    submit(world, "old", "same", "new")
    end(world, "old")
    (busy,) = views.failure_groups()
    world.pass_time(15_000_000)
    quiet = [f"q{number}" for number in range(1001)]
    submit(world, *quiet)
    claim(world, "w", *quiet)
    world.finish("w", [(task_id, token("w", task_id), "failed", "1", task_id, "error", 0, "") for task_id in quiet])
    end(world, "same")
    world.pass_time(6_000_000)  # past the 20,000 s that a failed task lives here
    world.due(10)
    end(world, "new")
    groups = world.picture().zsets
    assert set(groups[f"group:{busy.fingerprint}"]) == {"same", "new"}
    assert int(groups["sizes"][busy.fingerprint]) >> 33 == 2


def test_each_queue_tells_its_oldest_wait(world: World, views: Views) -> None:
    submit(world, "a", queue="slow")
    world.pass_time(60_000)
    submit(world, "b", "c", queue="quick")
    submit(world, "d", queue="idle")
    end(world, "d")
    queues = {queue.name: queue for queue in views.queues()}
    assert queues["slow"].oldest_wait == pytest.approx(60, abs=2)
    assert queues["quick"].oldest_wait == pytest.approx(0, abs=2)
    assert queues["idle"].oldest_wait is None
    assert (queues["quick"].queued, queues["quick"].processing) == (2, 0)
    assert json.dumps([asdict(queue) for queue in views.queues()])


def test_a_queue_behind_thousands_of_others_tells_a_bound(
    world: World,
    views: Views,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("yadtq.core.views.waiting.LOOKED_AT", 3)
    submit(world, "a", "b", "c", queue="slow")
    world.pass_time(60_000)
    submit(world, "d", queue="quick")
    queues = {queue.name: queue for queue in views.queues()}
    assert not queues["slow"].oldest_is_bound
    assert queues["quick"].oldest_is_bound
    assert queues["quick"].oldest_wait == pytest.approx(60, abs=2)


def about(queues: list[str], functions: list[str], concurrency: int = 1, name: str = "box") -> str:
    entries = [{"name": name, "doc": "", "params": []} for name in functions]
    return json.dumps(
        {"name": name, "host": "h", "pid": 1, "version": "1", "queues": queues, "concurrency": concurrency,
         "started": 1.0, "functions": entries}
    )  # fmt: skip


def codes(views: Views, task_id: str) -> list[str]:
    facts = views.waiting_reason(task_id)
    assert json.dumps([asdict(fact) for fact in facts])
    return [fact.code for fact in facts]


def test_a_waiting_task_says_why(world: World, views: Views) -> None:
    submit(world, "a")
    assert codes(views, "a") == ["outbox", "no_worker"]
    world.published([("a", 1, 0, 7)])
    assert codes(views, "a") == ["no_worker"]
    world.beat("x", about(["media"], ["add"]), "{}", [])
    assert codes(views, "a") == ["no_worker_for_queue"]
    world.beat("x", about(["default"], ["other"]), "{}", [])
    assert codes(views, "a") == ["no_worker_for_task"]
    submit(world, "b")
    claim(world, "x", "b")
    world.beat("x", about(["default"], ["add"]), "{}", [token("x", "b")])
    assert codes(views, "a") == ["slots_busy"]
    world.finish("x", [("b", token("x", "b"), "success", "1", "", "", 0, "")])
    world.beat("x", about(["default"], ["add"]), json.dumps({"alone": 2.5}), [])
    assert codes(views, "a") == ["alone"]
    world.beat("x", about(["default"], ["add"]), "{}", [])
    assert codes(views, "a") == []
    end(world, "a", kind="retry")
    assert codes(views, "a") == ["retry_due"]


class Read:
    """Kafka, of which everything is read."""

    def topic_of(self, queue: str) -> str:
        return queue

    def group_positions(self, topics: Sequence[str]) -> dict[tuple[str, int], tuple[int, int, int]]:
        return dict.fromkeys([(topics[0], 0), (topics[0], 1)], (0, 0, 1))


def test_a_task_whose_partition_belongs_to_a_busy_worker_says_so(world: World, views: Views) -> None:
    submit(world, "a", "b", "c")
    world.published([(task_id, 1, 0, 0) for task_id in "abc"])
    for worker, slots, partition in (("x", 2, 0), ("y", 3, 1)):
        state = json.dumps({"partitions": {"default": [partition]}})
        world.beat(worker, about(["default"], ["add"], slots, f"box-{worker}"), state, [])

    free = views.waiting_reason("a", Read())
    claim(world, "x", "b", "c")
    [fact] = views.waiting_reason("a", Read())
    submit(world, "d", "e", "f")
    claim(world, "y", "d", "e", "f")
    full = views.waiting_reason("a", Read())

    assert free == []
    assert (fact.code, fact.count, fact.worker) == ("owner_busy", 3, "x")
    assert fact.text == "Its partition 0 belongs to box-x, all 2 of whose slots are busy; 3 slots are free elsewhere."
    assert [fact.code for fact in full] == ["slots_busy"]


def test_the_worst_failures_are_those_of_the_last_hour_by_number(world: World, views: Views) -> None:
    ids = [f"t{number}" for number in range(9)]
    submit(world, *ids)
    end(world, *ids[:3], error="ValueError: many")
    end(world, *ids[3:5], error="OSError: some")
    end(world, ids[5], error="KeyError: one")
    [many, some] = views.worst_failures(2)
    world.retry("t0", world.time_ms(), by="ann")
    world.retry("t1", world.time_ms(), by="ann")
    after = views.worst_failures(1)
    world.pass_time(3_601_000)
    end(world, *ids[6:], error="KeyError: one")
    later = views.worst_failures(2)

    assert [(group.error, group.per_hour[-1]) for group in (many, some)] == [
        ("ValueError: many", 3),
        ("OSError: some", 2),
    ]
    assert [group.error for group in after] == ["OSError: some"]
    assert [group.error for group in later] == ["KeyError: one"]


def test_kafka_tells_how_many_records_are_ahead(fresh_settings: Callable[..., dict[str, Any]]) -> None:
    with House(fresh_settings()) as house:
        house.broker.ensure_topics([house.broker.topic_of("default")])
        ids = house.client.submit_many([("add", (1, 1))] * 60)
        eventually(lambda: house.views.outbox_size() == 0)
        last = max(house.results(ids), key=lambda task: task.offset or 0)

        def ahead() -> list[int | None]:
            facts = house.views.waiting_reason(last.id, house.broker)
            return [fact.count for fact in facts if fact.code == "records_ahead"]

        assert eventually(ahead) == [last.offset]


def test_the_audit_log_is_paged_and_bounded(world: World, views: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yadtq.core.views.audit.KEPT", 10)
    for number in range(15):
        record_action(
            world, user="ann", role="admin", action="retry", target=f"t{number}", detail="x" * 9_000, address="::1"
        )
    page = views.audit(limit=6)
    assert [entry.target for entry in page.items] == [f"t{number}" for number in range(14, 8, -1)]
    record_action(world, user="bob", role="operator", action="cancel", target="new")
    rest = views.audit(page.next, limit=6)
    assert [entry.target for entry in rest.items] == ["t8", "t7", "t6"]  # the tenth made room for the new one
    assert rest.next is None
    entry = page.items[0]
    assert (entry.user, entry.role, entry.action, entry.address) == ("ann", "admin", "retry", "::1")
    assert len(entry.detail) == 500
    assert entry.at == pytest.approx(views.server_time(), abs=5)
    assert views.audit("nonsense").items[0].target == "new"
    assert json.dumps(asdict(page))


def test_a_task_tells_who_did_what_to_it(world: World, views: Views) -> None:
    submit(world, "a")
    world.cancel("a", world.time_ms(), by="ann")
    world.retry("a", world.time_ms(), by="bob")
    lines = [json.loads(line) for line in world.plain.lrange(world.key("history:", "a"), 0, -1)]
    assert [(line["action"], line["by"]) for line in lines] == [("cancel", "ann"), ("retry", "bob")]
