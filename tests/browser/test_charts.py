"""The overview's charts in a browser: drawn over their SVGs, told under the pointer, kept while the page lives."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.test_pages import listen
from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser


def test_charts_are_drawn_tell_what_is_under_the_pointer_and_outlive_a_change(stack: Stack, browser: Browser) -> None:
    stack.client.wait_for_result(stack.client.submit("add", 1), 20)
    page = stack.sign_in(browser, color_scheme="light")
    _, complaints = listen(page)
    page.goto(f"{stack.url}/")
    failed = page.get_by_label("Key figures").get_by_role("link", name="Failed")
    before = failed.text_content()

    expect(page.locator(".draw canvas")).to_have_count(4)
    expect(page.locator(".draw svg")).to_have_count(0)
    page.locator("#plot-good").hover(position={"x": 200, "y": 60})
    expect(page.locator("#throughput header .muted")).to_contain_text("succeeded")
    page.mouse.move(5, 5)
    expect(page.locator("#throughput header .muted")).to_have_text("last hour")
    page.evaluate("document.querySelector('#plot-good .uplot').kept = true")
    stack.client.wait_for_result(stack.client.submit("fail"), 20)

    expect(failed).not_to_have_text(before or "")
    expect(page.locator(".draw canvas")).to_have_count(4)
    assert page.evaluate("document.querySelector('#plot-good .uplot').kept")
    light_ink = ink(page)
    page.get_by_role("button", name="Switch between light and dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert ink(page) != light_ink
    assert complaints == []
    page.context.close()


def ink(page: object) -> str:
    """What the first chart looks like."""
    return str(page.evaluate("document.querySelector('#plot-good canvas').toDataURL()"))  # type: ignore[attr-defined]
