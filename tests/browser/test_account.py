"""One's own account in a real browser: a new password, and what becomes of the pages that are open meanwhile."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.security import generate_password_hash

from tests.integration.web_stack import Stack

pytestmark = pytest.mark.browser

OLD, NEW = "correct horse", "battery staple"


def sign_in(stack: Stack, browser: Browser, name: str, **context: bool) -> Page:
    page = browser.new_context(**context).new_page()  # type: ignore[arg-type]
    page.goto(f"{stack.url}/login")
    fill(page, {"Name": name, "Password": OLD})
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{stack.url}/")
    return page


def fill(page: Page, values: dict[str, str]) -> None:
    for label, value in values.items():
        page.get_by_label(label, exact=True).fill(value)


def change_password(page: Page, **mistakes: str) -> None:
    typed = {"Current password": OLD, "New password": NEW, "New password, again": NEW, **mistakes}
    fill(page, typed)
    page.get_by_role("button", name="Change the password").click()


def add_user(stack: Stack, name: str) -> None:
    stack.accounts.add_user(name, generate_password_hash(OLD, method="scrypt"), "viewer")


def test_a_password_is_changed_without_javascript(stack: Stack, browser: Browser) -> None:
    add_user(stack, "bea")
    page = sign_in(stack, browser, "bea", java_script_enabled=False)
    page.get_by_title("Account").click()
    page.get_by_role("link", name="Change password").click()

    change_password(page, **{"Current password": "wrong horse"})
    expect(page.get_by_role("alert")).to_have_text("Not changed. Current password needs another look.")
    expect(page.get_by_label("Current password")).to_have_accessible_description("This is not your password.")
    change_password(page)

    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    expect(page).to_have_url(f"{stack.url}/sessions")
    page.context.close()


def test_other_tabs_go_on_and_other_browsers_are_signed_out(stack: Stack, browser: Browser) -> None:
    add_user(stack, "cleo")
    page, elsewhere = (sign_in(stack, browser, "cleo") for _ in range(2))
    beside = page.context.new_page()
    for open_page in (beside, elsewhere):
        open_page.goto(f"{stack.url}/tasks")
        expect(open_page.locator("#live b")).to_have_text("Live")
    page.goto(f"{stack.url}/password")

    with beside.expect_websocket(
        timeout=10_000
    ):  # sessions are looked at every 5 seconds: it comes again with the new one
        change_password(page)

    expect(elsewhere.locator("#live b")).to_have_text("Signed out", timeout=10_000)
    task_id = stack.client.submit("add", 9)
    expect(beside.locator(f"#t-{task_id} .st")).to_have_text("Success", timeout=10_000)
    expect(beside.locator("#live b")).to_have_text("Live")
    for each in (page, elsewhere):
        each.context.close()
