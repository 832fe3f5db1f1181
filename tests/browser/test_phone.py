"""What is easily cut off or covered on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page

from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser


@pytest.fixture
def phone(stack: Stack, browser: Browser) -> Iterator[Page]:
    page = stack.sign_in(browser, viewport={"width": 390, "height": 800})
    yield page
    page.context.close()


def sides(found: Locator) -> tuple[float, float]:
    """The left and the right edge."""
    box = found.bounding_box()
    assert box is not None
    return box["x"], box["x"] + box["width"]


def test_the_help_of_the_search_is_all_in_view(stack: Stack, phone: Page) -> None:
    phone.goto(f"{stack.url}/tasks")
    phone.get_by_text("Search help").click()
    left, right = sides(phone.locator(".pop"))
    assert (left >= 0, right <= 390) == (True, True)


def test_the_tab_that_is_shown_is_in_view(stack: Stack, phone: Page) -> None:
    for status in ("scheduled", "failed", "expired"):
        phone.goto(f"{stack.url}/tasks?status={status}")
        left, right = sides(phone.locator(".tabs [aria-current]"))
        assert (left >= 0, right <= 390) == (True, True), status


def test_no_button_lies_on_a_traceback(stack: Stack, phone: Page) -> None:
    failed = stack.client.options(retries=0).submit("stumble", "a long story " * 20)
    stack.client.wait_for_result(failed, 20)
    phone.goto(f"{stack.url}/tasks/{failed}")
    text, button = phone.locator(".time pre").last, phone.get_by_role("button", name="Copy the traceback").last
    assert sides(text)[1] <= sides(button)[0]
    assert sides(button)[1] <= 390
