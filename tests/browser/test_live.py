"""What one person does, everybody sees, without touching the page."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser

LIVE = '#live[data-live="live"]'

# Notes when each row took each state, as the page showed it.
WATCH_ROWS = """() => {
  window.untouched = true;
  window.seen = {};
  new MutationObserver(() => {
    for (const row of document.querySelectorAll("#rows tbody tr")) {
      const key = `${row.id} ${row.dataset.status}`;
      window.seen[key] ??= Date.now();
    }
  }).observe(document.querySelector("#rows"), { subtree: true, childList: true, attributes: true });
}"""


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture
def watchers(stack: Stack, browser: Browser) -> Iterator[list[Page]]:
    """The task list in two browsers that know nothing of each other."""
    pages = [stack.sign_in(browser) for _ in range(2)]
    for page in pages:
        watch(page, stack)
    yield pages
    for page in pages:
        page.context.close()


def watch(page: Page, stack: Stack) -> None:
    page.goto(f"{stack.url}/tasks")
    page.wait_for_selector(LIVE)
    page.evaluate(WATCH_ROWS)


def submit_in_form(page: Page, stack: Stack, name: str, **fields: str) -> str:
    """Fill in the form as a person would; the new task's id."""
    page.goto(f"{stack.url}/submit")
    page.get_by_role("link", name=name, exact=True).click()
    page.wait_for_url(f"**/submit?task={name}")
    for field, text in fields.items():
        page.locator(f"#a-{field}").fill(text)
    page.get_by_role("main").get_by_role("button", name="Submit task").click()
    page.wait_for_url("**/tasks/*/submitted")
    return page.url.split("/")[-2]


def test_a_submitted_row_appears_and_changes_state_in_both_browsers(
    stack: Stack, watchers: list[Page], pipe: Path
) -> None:
    form = watchers[0].context.new_page()

    task_id = submit_in_form(form, stack, "hold", pipe=str(pipe))

    for page in watchers:
        expect(page.locator(f"#t-{task_id} .st")).to_have_text("Processing")
    pipe.write_text("let through")
    for page in watchers:
        expect(page.locator(f"#t-{task_id} .st")).to_have_text("Success")
        assert page.evaluate("window.untouched"), "the page was loaded again"
    expect(form.get_by_role("heading", name="hold has succeeded")).to_be_visible()


def test_a_notification_is_enough_for_a_change_within_300_ms(stack: Stack, watchers: list[Page]) -> None:
    delays = [delay_of_success(stack, watchers[0], "add", n) for n in range(7)]

    assert statistics.median(delays) < 300, delays


def test_without_notifications_a_change_takes_at_most_2_s(new_stack: Callable[..., Stack], browser: Browser) -> None:
    stack = new_stack(YADTQ_LIVE_NOTIFICATIONS="off")
    stack.start_worker()
    page = stack.sign_in(browser)
    watch(page, stack)

    assert delay_of_success(stack, page, "add", 1) < 2000


def delay_of_success(stack: Stack, page: Page, name: str, *args: int) -> float:
    """Milliseconds from the change in Redis to the row on the screen; one machine, one clock."""
    task_id = stack.client.submit(name, *args)
    ended = stack.client.wait_for_result(task_id, 20)
    assert ended.ok
    assert ended.finished_at is not None
    expect(page.locator(f"#t-{task_id} .st")).to_have_text("Success")
    seen = page.evaluate(f"window.seen['t-{task_id} success']")
    return float(seen) - ended.finished_at * 1000


def test_new_rows_wait_while_somebody_reads_the_list(stack: Stack, watchers: list[Page]) -> None:
    first = stack.client.submit("add", 1)
    page = watchers[0]
    row = page.locator(f"#t-{first}")
    expect(row.locator(".st")).to_have_text("Success")
    row.hover()

    second = stack.client.submit("add", 2)

    expect(page.get_by_role("button", name="1 new – show")).to_be_visible()
    expect(watchers[1].locator(f"#t-{second} .st")).to_have_text("Success")
    expect(page.locator(f"#t-{second}")).to_have_count(0)
    page.get_by_role("button", name="1 new – show").click()
    expect(page.locator(f"#t-{second} .st")).to_have_text("Success")


def test_retry_and_cancel_are_seen_elsewhere(stack: Stack, watchers: list[Page], pipe: Path) -> None:
    acting, looking = watchers
    failed = stack.client.submit("fail")
    waiting = stack.client.options(delay=600).submit("add", 1)
    expect(looking.locator(f"#t-{failed} .st")).to_have_text("Failed")

    acting.locator(f"#t-{waiting}").get_by_role("button", name="Cancel").click()

    expect(acting.get_by_text("It is cancelled.")).to_be_visible()
    expect(looking.locator(f"#t-{waiting} .st")).to_have_text("Cancelled")
    before = stack.views.result(failed).seq
    acting.locator(f"#t-{failed}").get_by_role("button", name="Retry").click()
    expect(acting.get_by_text("It is queued again")).to_be_visible()
    expect(looking.locator(f"#t-{failed}:not([data-rev='{before}']) .st")).to_have_text("Failed")


def test_a_running_task_is_cancelled_only_after_asking(stack: Stack, watchers: list[Page], pipe: Path) -> None:
    page = watchers[0]
    running = stack.client.submit("hold", str(pipe))
    row = page.locator(f"#t-{running}")
    expect(row.locator(".st")).to_have_text("Processing")

    row.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Leave it").click()
    assert not stack.views.result(running).cancel_requested
    page.locator(f"#t-{running}").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the task").click()

    expect(page.get_by_text("Its worker is asked to stop it.")).to_be_visible()
    assert stack.views.result(running).cancel_requested
    pipe.write_text("enough")


def test_pausing_stops_changes_and_resuming_catches_up(stack: Stack, watchers: list[Page]) -> None:
    page = watchers[0]
    page.keyboard.press("p")
    expect(page.locator("#live b")).to_have_text("Paused")
    missed = stack.client.submit("add", 5)
    expect(watchers[1].locator(f"#t-{missed} .st")).to_have_text("Success")
    expect(page.locator(f"#t-{missed}")).to_have_count(0)

    page.keyboard.press("p")

    expect(page.locator(f"#t-{missed} .st")).to_have_text("Success")


def test_the_task_page_follows_its_task(stack: Stack, browser: Browser, pipe: Path) -> None:
    page = stack.sign_in(browser)
    task_id = stack.client.submit("hold", str(pipe))
    page.goto(f"{stack.url}/tasks/{task_id}")
    page.wait_for_selector(LIVE)
    expect(page.locator("#head .st")).to_have_text("Processing")

    pipe.write_text("the result")

    expect(page.locator("#head .st")).to_have_text("Success")
    expect(page.locator("#result")).to_contain_text("the result")
    page.context.close()


def test_a_refused_socket_turns_into_polling(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser)
    page.route_web_socket("**/ws?*", lambda socket: socket.close(code=1013))
    page.goto(f"{stack.url}/tasks")
    expect(page.locator("#live b")).to_have_text("Polling")

    task_id = stack.client.submit("add", 8)

    expect(page.locator(f"#t-{task_id} .st")).to_have_text("Success")
    page.context.close()


def test_signing_out_elsewhere_ends_the_polling_page(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser)
    page.route_web_socket("**/ws?*", lambda socket: socket.close(code=1013))
    page.goto(f"{stack.url}/tasks")
    expect(page.locator("#live b")).to_have_text("Polling")
    other = page.context.new_page()
    other.goto(stack.url)
    other.get_by_title("Account").click()

    other.get_by_role("button", name="Sign out").click()

    expect(page.locator("#live b")).to_have_text("Signed out")
    page.context.close()
