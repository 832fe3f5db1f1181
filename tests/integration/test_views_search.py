"""Lists and searches on a real Redis: what is found, in which order, and that pages stay put while rows move."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

import pytest

from tests.integration.stored import end, submit
from tests.model.world import World
from yadtq.core.views import search
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import TaskPage, Views, parse_query


def walk(read: Callable[[str | None], TaskPage]) -> list[str]:
    """The ids of all pages, forwards."""
    found, cursor = [], None
    while True:
        page = read(cursor)
        found += [item.id for item in page.items]
        cursor = page.next
        if cursor is None:
            return found


@pytest.fixture
def mixed(world: World) -> World:
    """Tasks in several states, named by what they are."""
    submit(world, "q1", "q2", name="mail.send", queue="mail")
    submit(world, "f1", "f2", args='[["invoice-7"],{}]')
    submit(world, "f3", name="resize", queue="media")
    submit(world, "s1")
    end(world, "f1", "f2", error="KeyError: 'a'")
    end(world, "f3", error="TimeoutError: too slow", worker="gpu-2")
    end(world, "s1", kind="success", error="1")
    return world


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"q1", "q2", "f1", "f2", "f3", "s1"}),
        ("status:failed", {"f1", "f2", "f3"}),
        ("status:failed,success", {"f1", "f2", "f3", "s1"}),
        ("-status:failed,success", {"q1", "q2"}),
        ("name:add", {"f1", "f2", "s1"}),
        ("name:mail.*", {"q1", "q2"}),
        ("name:*", {"q1", "q2", "f1", "f2", "f3", "s1"}),
        ("-name:add -name:mail.send", {"f3"}),
        ("queue:mail", {"q1", "q2"}),
        ("queue:mai", set()),
        ("worker:gpu", {"f3"}),
        ("args:INVOICE", {"f1", "f2"}),
        ('error:"too slow"', {"f3"}),
        ("status:failed -error:keyerror", {"f3"}),
        ("reason:error", {"f1", "f2", "f3"}),
        ("id:f*", {"f1", "f2", "f3"}),
        ("q2", {"q2"}),
        ("resize", {"f3"}),
        ("status:queued before:1h", set()),
        ("status:queued after:1h", {"q1", "q2"}),
        ("nothing-like-this", set()),
    ],
)
def test_searches_find_what_they_say(mixed: World, views: Views, text: str, expected: set[str]) -> None:
    page = views.search(parse_query(text))
    assert {item.id for item in page.items} == expected
    assert page.complete
    assert json.dumps(asdict(page))


@pytest.mark.parametrize("text", ["status:failed,queued", "name:add", "-worker:gpu", ""])
def test_pages_lead_forwards_and_back(mixed: World, views: Views, text: str) -> None:
    query = parse_query(text)
    for oldest_first in (False, True):
        whole = [item.id for item in views.search(query, oldest_first=oldest_first).items]
        assert len(whole) >= 3

        def read(cursor: str | None, oldest_first: bool = oldest_first) -> TaskPage:
            return views.search(query, cursor=cursor, limit=2, oldest_first=oldest_first)

        assert walk(read) == whole
        second = read(read(None).next)
        assert [item.id for item in second.items] == whole[2:4]
        assert [item.id for item in read(second.previous).items] == whole[:2]


def test_a_page_stays_put_while_rows_move(world: World, views: Views) -> None:
    """What is new, ended or deleted between two pages is neither shown twice nor hides another."""
    ids = [f"t{number:02}" for number in range(20)]
    for task_id in ids:
        submit(world, task_id)
    first = views.tasks(limit=5)
    submit(world, "new1", "new2")
    end(world, ids[12], kind="success", error="1")
    world.delete_many([ids[14], ids[15]])
    shown = [item.id for item in first.items]
    rest = walk(lambda cursor: views.tasks(limit=5, cursor=cursor or first.next))
    assert shown + rest == [task_id for task_id in reversed(ids) if task_id != ids[14]]


def test_hundreds_that_moved_in_one_moment_are_paged_one_by_one(world: World, views: Views) -> None:
    ids = [f"t{number:03}" for number in range(230)]
    submit(world, *ids)
    assert walk(lambda cursor: views.tasks(limit=50, cursor=cursor)) == sorted(ids, reverse=True)


@pytest.mark.parametrize("text", ['args:"rare"', "name:rare"])
def test_a_search_stops_at_its_limits_and_goes_on(
    world: World, views: Views, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(search, "MOST_ROWS", 50)
    monkeypatch.setattr(search, "NARROW_ROWS", 50)
    monkeypatch.setattr(search, "FIRST_STRETCH", 25)
    monkeypatch.setattr(search, "LONGEST_STRETCH", 25)
    monkeypatch.setattr(search, "MOST_SECONDS", 0 if text == "name:rare" else 60)
    submit(world, "wanted", name="rare", args='[["rare"],{}]')
    for start in range(0, 200, 20):
        submit(world, *(f"t{start + number:03}" for number in range(20)))
    query = parse_query(text)
    page = views.search(query)
    assert (page.items, page.complete, page.scanned) == ([], False, 50)
    assert walk(lambda cursor: views.search(query, cursor=cursor)) == ["wanted"]
    count = views.count(query)
    assert (count.matching, count.total) == (0, 201)
    matching = 0
    while count.next:
        count = views.count(query, cursor=count.next)
        matching += count.matching
    assert matching == 1


@pytest.mark.parametrize(
    "text", ["queue:media status:queued", "name:resize", "-queue:default", "worker:gpu", "-name:add"]
)
def test_a_few_under_thousands_of_others_are_found_at_once(
    world: World, views: Views, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """However slow the machine is: they are what somebody looks for who is told that they wait."""
    monkeypatch.setattr(search, "MOST_SECONDS", 0)
    submit(world, "m1", "m2", name="resize", queue="media")
    if text == "worker:gpu":
        end(world, "m1", "m2", worker="gpu-2")
    for start in range(0, 2_800, 200):
        submit(world, *(f"t{start + number:04}" for number in range(200)))
    page = views.search(parse_query(text))
    assert ({item.id for item in page.items}, page.complete, page.scanned) == ({"m1", "m2"}, True, 2_802)
    assert [item.id for item in views.search(parse_query(text), oldest_first=True).items][:2] == ["m1", "m2"]


def test_steps_of_a_bulk_job_on_a_name_leave_none_out(world: World, views: Views) -> None:
    """Where a step is full in the middle of a stretch, the next one begins behind its last task."""
    for start in range(0, 600, 20):
        submit(world, *(f"t{start + number:03}" for number in range(20)), name="resize" if start % 40 else "add")
    query, cursor, found, looked_at = parse_query("name:resize"), None, [], 0
    while True:
        ids, cursor, scanned = views.matching(query, cursor, 70)
        found += ids
        looked_at += scanned
        if cursor is None:
            break
    assert sorted(found) == sorted({f"t{number:03}" for number in range(600) if number // 20 % 2})
    assert (len(found), looked_at) == (300, 600)


def test_a_status_is_counted_without_looking_at_rows(mixed: World, views: Views) -> None:
    count = views.count(parse_query("status:failed"))
    assert (count.matching, count.scanned, count.next) == (3, 0, None)


@pytest.mark.parametrize(
    "cursor", ["", "x", "<", "<1", "<1:", "<-1:a", "<²:a", "<" + "9" * 400 + ":a", "<1:\x00", ">0:a"]
)
def test_a_broken_cursor_is_no_error(mixed: World, views: Views, cursor: str) -> None:
    assert isinstance(views.tasks(cursor=cursor).items, list)


def test_a_failed_task_older_than_ten_thousand_others_is_found_by_its_state(world: World, views: Views) -> None:
    submit(world, "old")
    end(world, "old")
    world.plain.zrem(world.key("index:", "all"), "old")  # as ten thousand submits later
    assert [item.id for item in views.search(parse_query("status:failed")).items] == ["old"]
    assert [item.id for item in views.search(parse_query("old")).items] == ["old"]


def test_deleted_tasks_are_nowhere(mixed: World, views: Views) -> None:
    everything = [item.id for item in views.tasks().items]
    assert mixed.delete_many(everything) == ["deleted"] * len(everything)
    assert views.tasks().items == []
    assert views.tasks_by_id(everything) == {}
    assert views.counts()[TaskStatus.FAILED] == views.counts()[TaskStatus.QUEUED] == 0
    assert views.failure_groups() == []
