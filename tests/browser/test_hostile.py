"""Hostile text in every field, in a real browser: nothing runs, and the policy against it is never even needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.hostile import RUNNING, Planted
from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser

# The policy stops what got out of its place; here a violation already counts as a failure.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI));
"""


@pytest.fixture(scope="module")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    """One of its own: the others' pages stay as they are."""
    return new_stack()


def watched(stack: Stack, browser: Browser) -> tuple[Page, list[str]]:
    """A page that notes every dialog, every refusal by the policy and every script error."""
    page, noted = stack.sign_in(browser), []
    page.add_init_script(WATCH)

    def dismiss(dialog: Any) -> None:
        noted.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("pageerror", lambda error: noted.append(f"an error: {error}"))
    page.on("console", lambda line: noted.append(line.text) if "Content Security Policy" in line.text else None)
    return page, noted


def test_nothing_runs_that_comes_over_the_websocket_or_stands_in_a_dialog(stack: Stack, browser: Browser) -> None:
    page, noted = watched(stack, browser)
    page.goto(f"{stack.url}/tasks")
    expect(page.locator("#live")).to_have_attribute("data-live", "live")
    task_id = stack.client.options(delay=3600).submit("add", RUNNING, key=RUNNING)
    stack.store.client.hset(stack.store.key("t:", task_id), "name", RUNNING)
    stack.client.cancel(task_id)
    expect(page.locator(f"#t-{task_id} .name")).to_have_text(RUNNING)
    Planted(stack.store, RUNNING)
    page.goto(f"{stack.url}/users")
    page.get_by_role("button", name="Delete").click()

    expect(page.locator("#confirm")).to_contain_text("onerror=alert(2)")
    assert noted + page.evaluate("violations") == []
    page.context.close()


def test_nothing_of_it_runs(stack: Stack, browser: Browser) -> None:
    planted = Planted(stack.store, RUNNING)
    page, noted = watched(stack, browser)
    task, worker = quote(planted.task_ids[5], safe=""), quote(planted.worker_id, safe="")
    paths = ["/", "/tasks", f"/tasks?q={quote(RUNNING)}", f"/tasks/{task}", "/workers", f"/workers/{worker}"]
    paths += ["/submit", "/submit?task=plain", "/users", "/tokens", "/sessions", "/audit", f"/bulk/{planted.job_id}"]
    for path in [*paths, f"/{quote(RUNNING, safe='')}"]:
        page.goto(stack.url + path)
        noted += page.evaluate("violations")
        assert page.locator("main img").count() == 0, path

    assert noted == []
    page.context.close()


def test_nothing_of_it_runs_as_a_suggestion(stack: Stack, browser: Browser) -> None:
    Planted(stack.store, RUNNING)
    page, noted = watched(stack, browser)
    page.goto(f"{stack.url}/tasks")
    page.locator("#q").press_sequentially("name:pl")
    expect(page.get_by_role("option")).to_have_text(["name:plain" + f"z-doc:{RUNNING}"[:80]])
    everything = [{"text": f"name:{RUNNING}", "note": RUNNING}]
    page.route("**/suggestions?*", lambda route: route.fulfill(json={"items": everything, "total": 1}))
    page.locator("#q").press_sequentially("a")
    expect(page.locator("[role=option] code")).to_have_text(f"name:{RUNNING}")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect(page.locator("#q")).to_have_value(f"name:{RUNNING} ")
    assert page.locator("main img").count() == 0
    assert noted + page.evaluate("violations") == []
    page.context.close()
