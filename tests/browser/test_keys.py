"""Single keys in a real browser, and the title that carries the count of failed tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.integration.web_stack import Stack
from yadtq.core.yadtq_task import TaskStatus

pytestmark = pytest.mark.browser

# Far enough apart for the first to be on its way.
TWO_CLICKS = """async () => {
  for (const _ of [1, 2]) {
    document.querySelector("main footer .btn.main").click();
    await new Promise((done) => setTimeout(done, 150));
  }
}"""


@pytest.fixture
def page(stack: Stack, browser: Browser) -> Iterator[Page]:
    page = stack.sign_in(browser)
    page.wait_for_selector('#live[data-live="live"]')
    yield page
    page.context.close()


def test_g_and_a_letter_go_to_the_places_of_the_menu(stack: Stack, page: Page) -> None:
    for link in page.locator(".nav a").all():
        href, key = link.get_attribute("href"), link.get_attribute("data-go")
        page.keyboard.press("g")
        page.keyboard.press(key or "")
        page.wait_for_url(stack.url + (href or ""))
        page.wait_for_selector("html[data-js]")
        expect(page.locator(".nav [aria-current=page]")).to_have_attribute("data-go", key or "")

    page.keyboard.press("n")

    page.wait_for_url("**/submit")


def test_rows_are_walked_opened_and_found_by_keys(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.url}/submit")
    focused = page.locator("[data-row]:focus-within a[data-open]")
    names = page.locator("[data-row] a[data-open]").all_inner_texts()

    page.keyboard.press("j")
    expect(focused).to_have_text(names[0])
    page.keyboard.press("j")
    expect(focused).to_have_text(names[1])
    page.keyboard.press("k")
    expect(focused).to_have_text(names[0])
    page.keyboard.press("/")
    expect(page.locator("#q")).to_be_focused()
    page.keyboard.type("named pipe")  # letters that are keys, too
    expect(page.locator("#q")).to_have_value("named pipe")
    page.keyboard.press("Escape")
    page.locator("#q").fill("jk nothing")
    expect(page.get_by_role("heading", name="No function matches")).to_be_visible()
    page.locator("#q").fill("whole numb")
    expect(page.locator("[data-row]:visible")).to_have_count(1)
    page.locator("#q").blur()
    page.keyboard.press("j")
    page.keyboard.press("Enter")

    page.wait_for_url("**/submit?task=add")


def test_tasks_are_selected_and_acted_on_by_keys(stack: Stack, page: Page) -> None:
    tasks = [stack.client.options(delay=600).submit("add", n) for n in range(4)]
    page.goto(f"{stack.url}/tasks?status=scheduled")
    row = page.locator("[data-row]:focus-within")

    page.keyboard.press("j")
    expect(row).to_have_id(f"t-{tasks[3]}")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Shift+X")
    expect(page.locator("#ticked")).to_have_text("3 selected")
    page.keyboard.press("x")
    expect(page.locator("#ticked")).to_have_text("2 selected")
    page.get_by_role("button", name="Clear").press("Enter")
    page.locator(f"#t-{tasks[1]} a[data-open]").focus()
    page.keyboard.press("d")
    expect(page.get_by_role("heading", name="Delete add?")).to_be_visible()
    page.get_by_role("button", name="Leave it").press("Enter")
    page.locator(f"#t-{tasks[1]} a[data-open]").focus()
    page.keyboard.press("c")

    expect(page.get_by_text("It is cancelled.")).to_be_visible()
    assert [stack.views.result(task).status for task in tasks].count(TaskStatus.CANCELLED) == 1
    assert stack.views.result(tasks[1]).status == TaskStatus.CANCELLED


def test_groups_of_failures_and_workers_are_rows_too(stack: Stack, page: Page) -> None:
    stack.client.wait_for_result(stack.client.submit("fail", "once more"), 20)
    page.goto(f"{stack.url}/workers")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/workers/*")
    page.goto(f"{stack.url}/failed")

    page.keyboard.press("j")
    page.keyboard.press("r")

    page.wait_for_url("**/bulk?*")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Retry")


def test_the_question_mark_lists_the_keys_which_are_silent_meanwhile(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    page.keyboard.press("n")
    page.keyboard.press("Escape")

    expect(page.locator("dialog#keys")).to_be_hidden()
    expect(page).to_have_title(re.compile("Overview"))


def test_keys_with_a_modifier_belong_to_the_browser(page: Page) -> None:
    page.keyboard.press("Control+p")
    page.keyboard.press("Alt+n")

    expect(page.locator("#live b")).to_have_text("Live")
    expect(page).to_have_title(re.compile("Overview"))


def test_single_keys_can_be_switched_off_and_stay_off(page: Page) -> None:
    page.get_by_title("Account").click()
    page.get_by_label("Single keys act").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_hidden()

    page.reload()
    page.wait_for_selector('#live[data-live="live"]')
    page.keyboard.press("p")

    expect(page.locator("#live b")).to_have_text("Live")
    expect(page.locator("#single-keys")).not_to_be_checked()
    page.get_by_title("Account").click()
    page.get_by_label("Single keys act").check()
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()


def test_a_command_and_an_id_are_copied(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser, permissions=["clipboard-read", "clipboard-write"])
    task_id = stack.client.submit("add", 1)
    page.goto(f"{stack.url}/tasks/{task_id}/submitted")

    page.get_by_role("button", name="Copy the id").click()

    expect(page.locator("#said")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == task_id
    page.context.close()


def test_a_second_click_while_the_first_is_under_way_sends_nothing(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.url}/submit?task=add")
    page.locator("#a-a").fill("987654")
    sent: list[Route] = []
    page.route("**/submit", lambda route: bool(sent.append(route)))  # the answer waits

    page.evaluate(TWO_CLICKS)

    assert len(sent) == 1
    sent[0].continue_()
    page.wait_for_url("**/submitted")


def test_control_and_enter_submit_from_any_field(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.url}/submit?task=add&mode=json")
    page.locator("#json").fill('{"args": [20, 22]}')

    page.locator("#json").press("Control+Enter")

    page.wait_for_url("**/submitted")
    expect(page.get_by_role("heading", name="add has succeeded")).to_be_visible()


def test_the_title_counts_failed_tasks_and_follows(stack: Stack, page: Page) -> None:
    stack.client.wait_for_result(stack.client.submit("fail"), 20)
    page.reload()
    before = stack.views.failed_count()
    expect(page).to_have_title(f"({before}) Overview · YADTQ")

    stack.client.wait_for_result(stack.client.submit("fail"), 20)

    expect(page).to_have_title(f"({before + 1}) Overview · YADTQ")
