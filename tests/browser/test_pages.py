"""Pages without script, on a phone, in the dark; nothing foreign, nothing broken on any of them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser


def every_page(stack: Stack) -> list[str]:
    failed = stack.client.submit("fail", "<script>alert(1)</script>")
    stack.client.wait_for_result(failed, 20)
    worker = stack.views.workers()[0].id
    return [
        "/",
        "/?span=7d",
        "/kafka",
        "/failed",
        "/failed/rejected",
        "/tasks",
        "/tasks?status=failed",
        "/tasks?status=expired",
        f"/tasks/{failed}",
        f"/tasks/{failed}/submitted",
        "/workers",
        f"/workers/{worker}",
        "/submit",
        "/submit?mode=json",
    ]


def test_everything_but_life_works_without_script(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser, java_script_enabled=False)
    page.goto(f"{stack.url}/submit?task=add")
    page.locator("#a-a").fill("none")
    page.get_by_role("main").get_by_role("button", name="Submit task").click()
    expect(page.get_by_text("“none” is not a whole number.")).to_be_visible()
    page.locator("#a-a").fill("40")
    page.locator("#a-b").fill("2")
    page.get_by_role("main").get_by_role("button", name="Submit task").click()
    page.get_by_role("link", name="Open the task").click()
    task_id = page.url.split("/")[-1]
    stack.client.wait_for_result(task_id, 20)

    page.reload()

    expect(page.locator("#result")).to_contain_text("42")
    page.goto(f"{stack.url}/tasks?status=success")
    expect(page.locator(f"#t-{task_id} .st")).to_have_text("Success")
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.context.close()


def test_a_failed_task_is_retried_without_script(stack: Stack, browser: Browser) -> None:
    page = stack.sign_in(browser, java_script_enabled=False)
    failed = stack.client.submit("fail")
    stack.client.wait_for_result(failed, 20)
    page.goto(f"{stack.url}/tasks/{failed}")

    page.get_by_role("button", name="Retry").click()

    expect(page.get_by_text("It is queued again")).to_be_visible()
    page.context.close()


@pytest.mark.parametrize("width", [390, 1360])
def test_no_page_scrolls_sideways_asks_others_or_complains(stack: Stack, browser: Browser, width: int) -> None:
    page = stack.sign_in(browser, viewport={"width": width, "height": 800})
    asked, complaints = listen(page)
    for path in every_page(stack):
        page.goto(stack.url + path)
        page.wait_for_load_state("networkidle") if "submit?" in path else None
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), path
        assert page.locator("h1").count() == 1, path
    assert asked == {urlsplit(stack.url).netloc}
    assert complaints == []
    page.context.close()


def listen(page: Page) -> tuple[set[str], list[str]]:
    """The hosts the page talks to, and what the browser's console says against it."""
    asked: set[str] = set()
    complaints: list[str] = []
    page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    page.on("websocket", lambda socket: asked.add(urlsplit(socket.url).netloc))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    return asked, complaints


def test_a_viewer_sees_everything_and_can_do_nothing(stack: Stack, browser: Browser) -> None:
    stack.client.wait_for_result(stack.client.submit("fail"), 20)
    page = stack.sign_in(browser, role="viewer")
    page.goto(f"{stack.url}/tasks?status=failed")

    expect(page.locator("#rows tbody tr").first).to_be_visible()
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    expect(page.get_by_role("link", name="Submit task")).to_have_count(0)
    page.context.close()
