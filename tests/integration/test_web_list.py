"""The list of tasks: tabs, search, paging and order, all of it in the address; and what it says when it finds nothing."""

from __future__ import annotations

import re
from html import unescape

import pytest
from flask.testing import FlaskClient

from tests.integration.stored import end, submit
from tests.model.world import World
from yadtq.core.views import search


@pytest.fixture(autouse=True)
def in_no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loaded machine ends no search early."""
    monkeypatch.setattr(search, "MOST_SECONDS", 30)


def ids(page: str) -> list[str]:
    return re.findall(r'<tr id="t-(\w+)"', page)


def link(page: str, words: str) -> str:
    """Where the list's link with these words leads."""
    found = re.search(rf'<a [^>]*href="([^"]+)"[^>]*>(?:(?!</a>).)*?{words}', page.partition("<main")[2])
    assert found, words
    return unescape(found[1])


def tallies(page: str) -> dict[str, int]:
    return {word: int(n.replace(",", "")) for word, n in re.findall(r"(\w+) <span class=\"tally\"[^>]*>([\d,]+)", page)}


def test_a_search_finds_within_its_tab_and_stays_in_the_address(world: World, viewer: FlaskClient) -> None:
    submit(world, "a", "b", name="mail.send")
    submit(world, "c", name="resize")
    end(world, "a", "c")

    every = viewer.get("/tasks?q=name:mail").text
    failed = viewer.get(link(every, "Failed")).text

    assert (ids(every), ids(failed)) == (["b", "a"], ["a"])
    assert "<b>2</b> found" in every
    assert 'value="name:mail"' in failed
    assert 'name="status" value="failed"' in failed
    assert ids(viewer.get(link(failed, "Queued")).text) == ["b"]
    assert ids(viewer.get(link(failed, "All")).text) == ["b", "a"]


def test_a_typed_state_lights_its_tab_and_another_tab_takes_its_place(world: World, viewer: FlaskClient) -> None:
    submit(world, "a", "b")
    end(world, "a")

    page = viewer.get('/tasks?q=status:failed name:"add"').text

    assert re.search(r'aria-current="page"><span[^>]*data-st="failed"', page)
    assert ids(page) == ["a"]
    assert ids(viewer.get(link(page, "Queued")).text) == ["b"]


def test_tabs_count_what_can_be_counted_without_looking_at_every_task(world: World, viewer: FlaskClient) -> None:
    submit(world, "a", "b", "c")
    end(world, "a")

    assert tallies(viewer.get("/tasks").text)["Queued"] == 2
    assert tallies(viewer.get("/tasks?q=before:1h").text) == dict.fromkeys(tallies(viewer.get("/tasks").text), 0)
    assert tallies(viewer.get("/tasks?q=after:1h").text)["Failed"] == 1
    assert tallies(viewer.get("/tasks?q=name:add").text) == {}


def test_a_search_that_is_no_search_is_told_at_its_box(world: World, viewer: FlaskClient) -> None:
    answer = viewer.get("/tasks?q=colour:red <b>&status=failed")

    assert answer.status_code == 400
    assert 'aria-invalid="true" aria-describedby="q-problem"' in answer.text
    assert "There is no colour: to search by" in answer.text
    assert 'value="colour:red &lt;b&gt;"' in answer.text
    assert tallies(answer.text)


def test_a_search_that_stops_at_its_limit_says_so_and_goes_on(
    world: World, viewer: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_ROWS", 20)
    monkeypatch.setattr(search, "FIRST_STRETCH", 10)
    monkeypatch.setattr(search, "LONGEST_STRETCH", 10)
    submit(world, "old", args='[["rare"],{}]')
    submit(world, *[f"n{number:02}" for number in range(30)])

    first = viewer.get("/tasks?q=args:rare").text
    second = viewer.get(link(first, "Search further")).text

    assert ids(first) == []
    assert "Looked at 20 tasks, back to" in first
    assert "found none" in first
    assert "No task matches" not in first
    assert ids(second) == ["old"]
    assert "Search further" not in second


def test_finding_nothing_offers_wider_searches(world: World, viewer: FlaskClient) -> None:
    submit(world, "a", "b")

    page = viewer.get("/tasks?q=name:add queue:bill&status=queued").text

    assert "finds nothing among the 2 tasks looked at" in page
    assert ids(viewer.get(link(page, "Drop queue:bill")).text) == ["b", "a"]


def test_an_id_is_found_in_every_tab(world: World, viewer: FlaskClient) -> None:
    submit(world, "abc", "def")

    assert ids(viewer.get("/tasks?q=abc").text) == ["abc"]
    assert ids(viewer.get("/tasks?q=abc&status=queued").text) == ["abc"]
    assert ids(viewer.get("/tasks?q=abc&status=failed").text) == []


def test_oldest_first_is_the_list_from_its_other_end(world: World, viewer: FlaskClient) -> None:
    made = [f"n{number:03}" for number in range(60)]
    submit(world, *made)

    first = viewer.get("/tasks?q=name:add&order=oldest").text
    second = viewer.get(link(first, "Newer")).text

    assert ids(first) + ids(second) == made
    assert ids(viewer.get(link(second, "Older")).text) == ids(first)
    assert ids(viewer.get(link(second, "First page")).text) == ids(first)


@pytest.mark.parametrize("path", ["/tasks", "/tasks?q=name:add&status=queued"])
def test_a_page_after_the_first_leads_back(world: World, viewer: FlaskClient, path: str) -> None:
    submit(world, *[f"n{number:03}" for number in range(120)])

    pages = [viewer.get(path).text]
    for _ in range(2):
        pages.append(viewer.get(link(pages[-1], "Older")).text)

    assert [len(ids(page)) for page in pages] == [50, 50, 20]
    assert ids(viewer.get(link(pages[2], "Newer")).text) == ids(pages[1])
