"""Whole ways through the pages, as people go them: submitting, mending, mending many, and watching each other do it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.helpers import eventually
from tests.integration.web_stack import Stack
from yadtq.core.yadtq_task import TaskStatus

pytestmark = pytest.mark.browser

MANY = 1_000


def submit(page: Page, stack: Stack, name: str, **fields: str) -> str:
    """Through the form; the new task's id."""
    page.goto(f"{stack.url}/submit?task={name}")
    for field, text in fields.items():
        page.locator(f"#a-{field}").fill(text)
    page.get_by_role("main").get_by_role("button", name="Submit task").click()
    page.wait_for_url("**/tasks/*/submitted")
    return page.url.split("/")[-2]


def test_from_a_wrong_submit_to_a_right_one_and_a_cancel(stack: Stack, browser: Browser, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    page = stack.sign_in(browser)
    watching = page.context.new_page()
    watching.goto(f"{stack.url}/tasks")
    watching.wait_for_selector('#live[data-live="live"]')

    wrong = submit(page, stack, "hold", pipe=f"{tmp_path}/missing")
    expect(watching.locator(f"#t-{wrong} .st")).to_have_text("Failed", timeout=20_000)  # the row came by itself
    watching.locator(f"#t-{wrong}").get_by_role("link", name="hold").click()
    expect(watching.get_by_text("No such file or directory").first).to_be_visible()

    watching.get_by_role("link", name="Edit and run again").click()
    by_name = watching.get_by_label("Arguments by name")
    by_position = watching.get_by_label("Arguments by position")
    box = by_name if "missing" in by_name.input_value() else by_position
    box.fill(box.input_value().replace(f"{tmp_path}/missing", str(pipe)))
    watching.get_by_role("button", name="Submit the new task").click()
    watching.wait_for_url(re.compile(r"/tasks/\w+(/submitted)?$"))
    right = re.search(r"/tasks/(\w+)", watching.url)[1]  # type: ignore[index]
    assert right != wrong
    watching.goto(f"{stack.url}/tasks/{right}")
    expect(watching.locator("#head .st")).to_have_text("Processing")
    pipe.write_text("let through")
    expect(watching.locator("#head .st")).to_have_text("Success")
    assert stack.client.get_result(right).result == "let through"

    later = stack.client.options(delay=600).submit("add", 1)
    watching.goto(f"{stack.url}/tasks/{later}")
    watching.get_by_role("button", name="Cancel").first.click()
    expect(watching.locator("#head .st")).to_have_text("Cancelled")
    actions = stack.views.task(later).actions
    assert [(one.action, one.by) for one in actions] == [("cancel", "ada")]
    page.context.close()


def test_a_thousand_failures_are_retried_at_once_and_once(new_stack: Callable[..., Stack], browser: Browser) -> None:
    stack = new_stack()
    stack.start_worker()
    stack.client.submit_many([("fail", [f"box {number}"]) for number in range(MANY)])
    eventually(lambda: stack.views.counts()[TaskStatus.FAILED] == MANY, 60)
    page = stack.sign_in(browser)
    page.goto(f"{stack.url}/tasks?status=failed")

    page.get_by_role("link", name=re.compile("All that match")).click()
    expect(page.get_by_text("1,000 tasks").first).to_be_visible()
    form = page.locator("form", has=page.get_by_role("button", name=re.compile("Retry 1,000 tasks")))
    twice = form.evaluate("form => new URLSearchParams(new FormData(form, form.querySelector('button'))).toString()")
    page.get_by_role("button", name=re.compile("Retry 1,000 tasks")).click()
    expect(page.locator("#far")).to_have_text("Done", timeout=30_000)
    first_job = page.url
    answer = page.request.post(
        f"{stack.url}/bulk",
        data=twice,
        headers={"Content-Type": "application/x-www-form-urlencoded", "Referer": page.url},
    )

    assert answer.url == first_job, "a form sent twice starts nothing new"
    eventually(lambda: stack.views.counts()[TaskStatus.FAILED] == MANY, 60)
    totals = stack.views.totals()
    assert totals["failed"] == 2 * MANY, totals
    page.context.close()


def test_what_an_operator_does_a_viewer_sees_and_cannot_do(stack: Stack, browser: Browser) -> None:
    task_id = stack.client.options(delay=600).submit("add", 1)
    operator, viewer = stack.sign_in(browser, "operator"), stack.sign_in(browser, "viewer")
    for page in (operator, viewer):
        page.goto(f"{stack.url}/tasks/{task_id}")
        page.wait_for_selector('#live[data-live="live"]')
    expect(viewer.get_by_role("button", name="Cancel")).to_have_count(0)

    operator.get_by_role("button", name="Cancel").first.click()

    expect(viewer.locator("#head .st")).to_have_text("Cancelled")
    token = operator.locator('input[name="csrf_token"]').first.get_attribute("value") or ""
    refused = viewer.request.post(f"{stack.url}/tasks/{task_id}/retry", form={"csrf_token": token})
    assert refused.status in (400, 403)
    assert stack.client.get_result(task_id).status is TaskStatus.CANCELLED
    for page in (operator, viewer):
        page.context.close()


def test_a_submit_and_a_retry_by_keyboard_alone(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser)
    page.goto(f"{stack.url}/submit?task=fail")
    page.wait_for_selector("html[data-js]")
    page.locator("#a-words").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type(json.dumps("by keys")[1:-1])
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/tasks/*/submitted")
    task_id = page.url.split("/")[-2]
    stack.client.wait_for_result(task_id, 20)
    before = stack.views.result(task_id).seq
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url(f"{stack.url}/tasks")
    page.wait_for_selector("html[data-js]")
    page.keyboard.press("/")
    page.keyboard.type(f"{task_id}\n")
    page.wait_for_url("**/tasks?*")
    page.wait_for_selector("html[data-js]")
    expect(page.locator("#q")).not_to_be_focused()

    page.keyboard.press("j")
    with page.expect_navigation():
        page.keyboard.press("r")

    eventually(lambda: stack.views.result(task_id).seq > before, 10)
    assert [one.action for one in stack.views.task(task_id).actions] == ["retry"]
    page.context.close()
