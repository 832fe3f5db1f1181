"""Whatever happens to the line between page and server, the table ends up as Redis has it."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser

STATE = "#live b"
UNSERVED = "unserved"  # no worker takes from it, so that nothing moves but by the test's own moves
ROWS = "#rows tbody tr[id]"

SHOWN = """() => Object.fromEntries([...document.querySelectorAll("#rows tbody tr[id]")]
  .map((row) => [row.id.slice(2), `${row.dataset.status} ${row.querySelector(".st").textContent.trim().toLowerCase()}`]))"""


def watching(stack: Stack, browser: Browser, path: str = "/tasks") -> Page:
    page = stack.sign_in(browser)
    page.goto(stack.url + path)
    expect(page.locator(STATE)).to_have_text("Live")
    return page


def churn(stack: Stack, ids: list[str], moves: int, chance: random.Random) -> None:
    """Cancels and retries at random, and a new task now and then, all by real moves."""
    for _ in range(moves):
        some = chance.sample(ids, min(5, len(ids)))
        stack.client.cancel_many(some) if chance.random() < 0.5 else stack.client.retry_many(some)
        if chance.random() < 0.2:
            ids.append(stack.client.options(queue=UNSERVED, delay=3600).submit("add", len(ids)))


def held(stack: Stack, ids: list[str]) -> dict[str, str]:
    """As the rows would show them."""
    found = stack.views.tasks_by_id(ids)
    return {task_id: f"{found[task_id].status} {found[task_id].status}" for task_id in ids}


def difference(stack: Stack, page: Page) -> list[str]:
    """What the table shows otherwise than Redis has it, or lacks of the newest."""
    if page.locator("#fresh").is_visible():
        page.locator("#fresh").click()
    shown: dict[str, Any] = page.evaluate(SHOWN)
    true = held(stack, list(shown))
    newest = [task.id for task in stack.views.tasks(limit=50).items]
    wrong = [f"{task_id}: {word}, really {true[task_id]}" for task_id, word in shown.items() if word != true[task_id]]
    return wrong + [f"{task_id} is missing" for task_id in newest if task_id not in shown]


def comes_true(stack: Stack, page: Page, within: float = 15.0) -> None:
    """In 5 s where the machine has nothing else to do."""
    deadline = time.monotonic() + within
    while left := difference(stack, page):
        assert time.monotonic() < deadline, [page.locator(STATE).inner_text(), *left]
        page.wait_for_timeout(200)


def test_a_table_under_change_shows_what_redis_holds_once_it_is_quiet(stack: Stack, browser: Browser) -> None:
    chance = random.Random(15)
    ids = [stack.client.options(queue=UNSERVED, delay=3600).submit("add", n) for n in range(40)]
    page = watching(stack, browser)
    reading = watching(stack, browser)
    reading.locator(ROWS).first.hover()  # who reads keeps his rows, and they are true all the same

    for _ in range(10):
        churn(stack, ids, 10, chance)
        page.wait_for_timeout(30)  # so that rounds of the hub fall into it

    comes_true(stack, page)
    shown = reading.evaluate(SHOWN)
    assert shown == held(stack, list(shown))
    for one in (page, reading):
        one.context.close()


def test_a_page_that_was_offline_catches_up_and_says_how_it_stands(stack: Stack, browser: Browser) -> None:
    chance = random.Random(16)
    ids = [stack.client.options(queue=UNSERVED, delay=3600).submit("add", n) for n in range(10)]
    page = watching(stack, browser)

    page.context.set_offline(True)
    expect(page.locator(STATE)).to_have_text("Reconnecting")
    churn(stack, ids, 40, chance)
    gone = stack.client.options(queue=UNSERVED, delay=3600).submit("add", 99)
    page.context.set_offline(False)

    expect(page.locator(STATE)).to_have_text("Live")
    comes_true(stack, page)
    stack.client.cancel(gone)
    expect(page.locator(f"#t-{gone} .st")).to_have_text("Cancelled")
    page.context.close()


def test_a_line_that_opens_and_lets_nothing_through_is_not_called_live(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser)
    page.route_web_socket("**/ws?*", lambda socket: None)  # as a proxy that holds back what it should pass on
    page.goto(f"{stack.url}/tasks")
    page.clock.install()
    page.clock.fast_forward(20_000)
    expect(page.locator(STATE)).not_to_have_text("Live")
    page.clock.run_for(3000)
    expect(page.locator(STATE)).to_have_text("Polling")

    task_id = stack.client.options(queue=UNSERVED, delay=3600).submit("add", 8)
    page.clock.run_for(3000)

    expect(page.locator(f"#t-{task_id} .st")).to_have_text("Scheduled")
    page.context.close()


def test_a_hidden_page_lets_its_socket_go_and_its_title_counts_on(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser)
    page.add_init_script("Object.defineProperty(document, 'hidden', { get: () => Boolean(window.away) })")
    page.clock.install()
    with page.expect_websocket() as opened:
        page.goto(f"{stack.url}/workers")
    expect(page.locator(STATE)).to_have_text("Live")

    page.evaluate("window.away = true; document.dispatchEvent(new Event('visibilitychange'))")
    with opened.value.expect_event("close"):
        page.clock.run_for(61_000)
    stack.client.wait_for_result(stack.client.submit("fail"), 20)
    page.clock.run_for(46_000)

    expect(page).to_have_title(f"({stack.views.failed_count():,}) Workers · YADTQ")
    with page.expect_websocket():
        page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(STATE)).to_have_text("Live")
    page.context.close()


def test_a_deleted_task_is_struck_out_where_it_stands(stack: Stack, browser: Browser) -> None:
    task_id = stack.client.options(queue=UNSERVED, delay=3600).submit("add", 1)
    page = watching(stack, browser)
    row = page.locator(f"#t-{task_id}")
    expect(row).to_be_visible()

    stack.client.delete(task_id)

    expect(row).to_have_class("gone")
    page.context.close()
