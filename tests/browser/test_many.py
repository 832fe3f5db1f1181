"""Ticked rows and all that match, with and without script, while the list goes on living."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.helpers import eventually
from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser

LIVE = '#live[data-live="live"]'


@pytest.fixture
def page(stack: Stack, browser: Browser) -> Iterator[Page]:
    made = stack.sign_in(browser)
    yield made
    made.context.close()


def waiting(stack: Stack, name: str, count: int) -> list[str]:
    return stack.client.options(delay=3600).submit_many([(name, (n,)) for n in range(count)])


def statuses(stack: Stack, ids: list[str]) -> set[str]:
    return {str(task.status) for task in stack.views.tasks_by_id(ids).values()}


def test_a_selection_outlives_changes_and_new_rows_wait_for_it(stack: Stack, page: Page) -> None:
    first, second = waiting(stack, "many.kept", 2)
    page.goto(f"{stack.url}/tasks")
    page.wait_for_selector(LIVE)
    page.locator(f"#t-{first} .tick input").check()
    page.locator("h1").hover()
    page.evaluate("document.activeElement.blur()")

    stack.client.cancel(first)
    third = waiting(stack, "many.kept", 1)[0]

    expect(page.locator(f"#t-{first} .st")).to_have_text("Cancelled")
    expect(page.locator(f"#t-{first} .tick input")).to_be_checked()
    expect(page.get_by_text("1 selected")).to_be_visible()
    expect(page.get_by_role("button", name="1 new – show")).to_be_visible()
    page.get_by_role("button", name="1 new – show").click()
    expect(page.locator(f"#t-{third}")).to_be_visible()
    expect(page.locator(f"#t-{first} .tick input")).to_be_checked()
    page.locator(f"#t-{second} .tick input").check()
    page.locator(".bulk").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete 2 tasks").click()
    expect(page.get_by_text("2 of 2 tasks deleted.")).to_be_visible()
    assert set(stack.views.tasks_by_id([first, second, third])) == {third}


def test_all_that_match_are_cancelled_also_when_the_page_is_closed(stack: Stack, page: Page) -> None:
    ids = waiting(stack, "many.closed", 450)
    other = waiting(stack, "many.other", 1)
    page.goto(f"{stack.url}/tasks?q=name:many.closed")
    page.locator("#tick-all").check()
    expect(page.get_by_text("50 selected")).to_be_visible()

    page.get_by_role("link", name="Select all that match").click()
    expect(page.get_by_text("All that match are selected")).to_be_visible()
    page.locator(".bulk").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel 450 tasks").click()
    expect(page.get_by_role("heading", name="Cancel all that match")).to_be_visible()
    progress = page.url
    page.goto("about:blank")

    eventually(lambda: statuses(stack, ids) == {"cancelled"}, 30)
    assert statuses(stack, other) == {"scheduled"}
    page.goto(progress)
    expect(page.get_by_role("status").get_by_text("Done")).to_be_visible()
    expect(page.locator("#job dd").first).to_have_text("450")


def test_a_search_leaves_it_to_the_server_which_rows_match(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.url}/tasks?q=name:many.sought -status:cancelled")
    page.wait_for_selector(LIVE)

    other = waiting(stack, "many.unsought", 1)[0]
    sought = waiting(stack, "many.sought", 1)[0]

    expect(page.locator(f"#t-{sought}")).to_be_visible(timeout=30_000)
    expect(page.locator(f"#t-{other}")).to_have_count(0)
    later = waiting(stack, "many.sought", 1)[0]
    expect(page.locator(f"#t-{later}")).to_be_visible(timeout=30_000)
    stack.client.cancel(later)
    expect(page.locator(f"#t-{later}.gone .st")).to_have_text("Cancelled", timeout=30_000)
    assert "gone" not in (page.locator(f"#t-{sought}").get_attribute("class") or "")


def test_a_search_goes_on_by_itself_to_the_first_match_or_the_end(stack: Stack, page: Page) -> None:
    buried = stack.client.options(delay=3600).submit("many.buried", "a needle")
    waiting(stack, "many.hay", 2_100)  # a search in arguments looks at 2,000

    page.goto(f"{stack.url}/tasks?q=args:needle&status=scheduled")

    expect(page.locator(f"#t-{buried}")).to_be_visible(timeout=15_000)
    assert "cursor=" in page.url
    page.goto(f"{stack.url}/tasks?q=args:nothing-like-it&status=scheduled")
    expect(page.get_by_text("Looked at all")).to_be_visible(timeout=15_000)
    expect(page.get_by_role("link", name="Search further")).to_have_count(0)


def test_a_row_that_has_left_its_tab_is_dimmed_where_it_stands(stack: Stack, page: Page) -> None:
    above, below = waiting(stack, "many.left", 2)
    page.goto(f"{stack.url}/tasks?status=scheduled")
    page.wait_for_selector(LIVE)

    stack.client.cancel(below)

    row = page.locator(f"#t-{below}")
    expect(row.locator(".st")).to_have_text("Cancelled")
    assert "gone" in (row.get_attribute("class") or "")
    expect(page.locator(f"#t-{above} .st")).to_have_text("Scheduled")


def test_ticked_rows_are_deleted_without_script(stack: Stack, browser: Browser) -> None:
    one, two = waiting(stack, "many.plain", 2)
    page = stack.sign_in(browser, java_script_enabled=False)
    page.goto(f"{stack.url}/tasks?q=name:many.plain")
    expect(page.locator(".bulk")).to_be_hidden()
    page.locator(f"#t-{one} .tick input").check()

    page.locator(".bulk").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete 1 task").click()

    expect(page.get_by_text("1 of 1 task deleted.")).to_be_visible()
    expect(page.locator(f"#t-{two}")).to_be_visible()
    page.goto(f"{stack.url}/bulk?q=name:many.plain&action=cancel")
    page.get_by_role("button", name="Cancel 1 task").click()
    expect(page.get_by_role("heading", name="Cancel all that match")).to_be_visible()
    assert eventually(lambda: statuses(stack, [two]) == {"cancelled"})
    page.context.close()


def test_the_reasons_why_a_task_waits_are_read_again_by_themselves(stack: Stack, page: Page) -> None:
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    task = stack.client.options(queue="nobody-reads").submit("many.unread")
    page.goto(f"{stack.url}/tasks/{task}")
    expect(page.get_by_text("No worker that is online takes from the queue")).to_be_visible()

    for _ in range(3):  # more often than the task itself changes
        with page.expect_request(page.url, timeout=30_000):
            pass
    assert faults == []
