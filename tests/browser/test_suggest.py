"""Suggestions beneath the search box in a real browser: by keys, by mouse, announced, and never in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.helpers import eventually
from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser


@pytest.fixture
def page(stack: Stack, browser: Browser) -> Iterator[Page]:
    page = stack.sign_in(browser)
    page.goto(f"{stack.url}/tasks")
    page.wait_for_selector('#live[data-live="live"]')
    yield page
    page.context.close()


def options(page: Page) -> Locator:
    return page.get_by_role("option")


def chosen(page: Page) -> Locator:
    return page.get_by_role("option", selected=True)


def asked(page: Page) -> str:
    """The search that the page's address holds."""
    return parse_qs(urlsplit(page.url).query).get("q", [""])[0]


def test_a_search_is_put_together_by_keys(page: Page) -> None:
    box = page.get_by_role("combobox", name="Search tasks")
    expect(box).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("/")
    expect(options(page)).to_have_count(10)
    expect(box).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#said")).to_have_text("10 suggestions")
    expect(chosen(page)).to_have_count(0)

    page.keyboard.press("ArrowDown")
    expect(chosen(page)).to_contain_text("name:")
    assert box.get_attribute("aria-activedescendant") == chosen(page).get_attribute("id")
    page.keyboard.press("Enter")  # there are values to choose from
    expect(options(page).filter(has_text="name:add")).to_have_count(1)
    page.keyboard.type("ad")
    expect(options(page).first.locator("b")).to_have_text("ad")
    expect(options(page).first).to_contain_text("name:add")  # before names of other tests that only hold it
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(box).to_have_value("name:add ")
    expect(box).to_be_focused()
    expect(options(page)).to_have_count(0)
    expect(box).not_to_have_attribute("aria-activedescendant", "suggestion-0")
    page.keyboard.type("-st")
    expect(options(page)).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("failed,exp")
    expect(options(page)).to_contain_text(["-status:failed,expired"])
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(box).to_have_value("name:add -status:failed,expired ")
    page.keyboard.press("Enter")

    page.wait_for_url("**/tasks?q=*")
    assert asked(page).strip() == "name:add -status:failed,expired"


def test_arrows_go_round_by_way_of_the_box(page: Page) -> None:
    page.locator("#q").press_sequentially("er")
    expect(options(page)).to_have_count(3)

    seen = []
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
        seen.append(page.locator("[aria-selected=true] code").all_inner_texts())

    assert seen == [["after:"], ["worker:"], ["error:"], [], ["error:"], ["worker:"]]


def test_a_search_is_put_together_by_mouse(page: Page) -> None:
    box = page.locator("#q")
    box.click()
    options(page).filter(has_text="queue:").first.click()
    expect(box).to_have_value("queue:")
    options(page).filter(has_text="default").click()
    expect(box).to_have_value("queue:default ")
    expect(box).to_be_focused()
    expect(options(page)).to_have_count(0)
    page.get_by_role("button", name="Search", exact=True).click()

    page.wait_for_url("**/tasks?q=*")
    assert asked(page).strip() == "queue:default"


def test_a_word_in_the_middle_is_completed_in_its_place(page: Page) -> None:
    box = page.locator("#q")
    box.fill('stat error:"time out" after:1h')
    expect(page.locator("#suggest")).to_be_hidden()
    box.evaluate("box => box.setSelectionRange(4, 4)")
    page.keyboard.press("ArrowDown")
    expect(options(page)).to_have_text(["status:queued, failed, …"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect(box).to_have_value('status: error:"time out" after:1h')
    expect(options(page).filter(has_text="status:expired")).to_be_visible()


def test_escape_closes_the_list_alone_and_enter_searches_what_is_typed(page: Page) -> None:
    box = page.locator("#q")
    box.press_sequentially("name")
    expect(options(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(options(page)).to_have_count(0)
    expect(page.locator("#said")).to_have_text("")
    expect(box).to_have_value("name")
    page.keyboard.press("ArrowDown")
    expect(options(page)).to_have_count(1)
    expect(chosen(page)).to_have_count(0)
    page.keyboard.press("Enter")

    page.wait_for_url("**/tasks?q=name")


def test_tab_leaves_the_box_where_nothing_is_chosen(page: Page) -> None:
    page.locator("#q").press_sequentially("st")
    expect(options(page)).to_have_count(1)
    page.keyboard.press("Tab")

    expect(page.get_by_role("button", name="Search", exact=True)).to_be_focused()
    expect(options(page)).to_have_count(0)
    expect(page.locator("#q")).to_have_value("st")


def test_a_question_is_given_up_when_the_next_is_asked(page: Page) -> None:
    held: list[Route] = []
    page.route("**/suggestions?word=q", lambda route: bool(held.append(route)))  # its answer waits
    page.locator("#q").press_sequentially("q")
    eventually(lambda: page.evaluate("1") and held)
    page.locator("#q").press_sequentially("ueue:def")

    expect(options(page)).to_contain_text(["queue:default"])
    eventually(lambda: page.evaluate("1") and held[0].request.failure == "net::ERR_ABORTED")


@pytest.mark.parametrize("answer", [{"status": 503, "body": "{}"}, {"status": 200, "body": "<html>"}, None])
def test_without_suggestions_it_is_a_search_box(page: Page, answer: dict[str, object] | None) -> None:
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    gone: list[str] = []

    def away(route: Route) -> None:
        gone.append(route.request.url)
        route.fulfill(**answer) if answer else route.abort()  # type: ignore[arg-type]

    page.route("**/suggestions?*", away)
    page.locator("#q").press_sequentially("name:add")
    eventually(lambda: page.evaluate("1") and gone)
    expect(options(page)).to_have_count(0)
    page.keyboard.press("Enter")

    page.wait_for_url("**/tasks?q=name*")
    assert asked(page) == "name:add"
    assert complaints == []


def test_more_than_ten_are_said_to_be_more(page: Page) -> None:
    items = [{"text": f"name:task_{number}", "note": ""} for number in range(10)]
    body = json.dumps({"items": items, "total": 1_000})
    page.route("**/suggestions?*", lambda route: route.fulfill(body=body, content_type="application/json"))

    page.locator("#q").press_sequentially("name:")

    expect(page.get_by_text("10 of 1,000; type on for others")).to_be_visible()
    expect(page.locator("#said")).to_have_text("1,000 suggestions")


@pytest.mark.parametrize("width", [390, 1360])
def test_the_list_stays_within_its_page(stack: Stack, browser: Browser, width: int) -> None:
    page = stack.sign_in(browser, viewport={"width": width, "height": 800})
    long = {"text": f"name:{'media.' * 15}resize", "note": "words of what it does " * 4}
    page.route("**/suggestions?*", lambda route: route.fulfill(json={"items": [long], "total": 1}))
    page.goto(f"{stack.url}/failed")

    page.locator("#q").press_sequentially("name:")

    expect(options(page)).to_have_count(1)
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    edges = "element => [element.getBoundingClientRect().left, element.getBoundingClientRect().right]"
    (left, right), (start, end) = page.locator("#q").evaluate(edges), options(page).evaluate(edges)
    assert left <= start < end <= right
    page.context.close()


def test_without_script_it_is_a_plain_box(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser, java_script_enabled=False)
    page.goto(f"{stack.url}/tasks")

    expect(page.get_by_role("combobox")).to_have_count(0)
    expect(page.locator("#suggest")).to_be_hidden()
    page.get_by_role("textbox", name="Search tasks").fill("name:add")
    page.get_by_role("button", name="Search", exact=True).click()

    page.wait_for_url("**/tasks?q=name*")
    page.context.close()
