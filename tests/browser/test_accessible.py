"""axe-core finds nothing on any page: light and dark, phone and desk, empty, full, and in trouble."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.site import ABSENT, ALWAYS, Site
from tests.helpers import new_settings
from tests.integration.web_stack import Stack
from webapp import create_app
from yadtq.core.yadtq_task import TaskStatus
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

# In the dark the page is the same but for its colours, so that only the rules about these are asked again.
RULES: dict[str, dict[str, Any]] = {
    "light": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},
}
SIZES = ({"width": 360, "height": 780}, {"width": 1280, "height": 900})
# What is folded is judged as well; menus and dialogs, which cover others, are opened one by one.
UNFOLD = "for (const fold of document.querySelectorAll('details:not(.menu)')) fold.open = true"


@pytest.fixture(scope="module")
def empty(new_stack: Callable[..., Stack]) -> Stack:
    """Nothing was ever submitted here and no worker has been."""
    return new_stack()


@pytest.fixture(scope="module")
def full(new_stack: Callable[..., Stack], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Tasks in every state, with all that a page can say about them."""
    site = Site(new_stack(YADTQ_RETRY_BACKOFF="3600"), tmp_path_factory.mktemp("site"))
    site.populate()
    yield site
    site.release()


@pytest.fixture(scope="module")
def without_redis(kafka: EmbeddedKafka, own_redis: EmbeddedRedis) -> Iterator[tuple[Stack, EmbeddedRedis]]:
    stack = Stack(new_settings(kafka, own_redis))
    yield stack, own_redis
    stack.stop()


def judge(page: Page, address: str) -> list[str]:
    """What axe-core finds at this address, in each scheme and size."""
    page.goto(address)
    return judge_as_it_is(page, address)


def judge_as_it_is(page: Page, address: str, within: str = "html") -> list[str]:
    """What it finds on the page that is open, or within a part of it."""
    page.evaluate(UNFOLD)
    found = []
    for size in SIZES:
        page.set_viewport_size(size)  # type: ignore[arg-type]
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            found.append(f"{address} at {size['width']} px scrolls sideways")
        for scheme, rules in RULES.items():
            options = {"resultTypes": ["violations"], "runOnly": rules}
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            for violation in Axe().run(page, context=within, options=options).response["violations"]:
                nodes = "; ".join(node["html"][:160] for node in violation["nodes"][:3])
                found.append(f"{address} at {size['width']} px, {scheme}: {violation['id']}: {nodes}")
    return found


def judge_opened(page: Page, address: str) -> list[str]:
    """What it finds with each menu of the page open, then each dialog; every one must be in view."""
    page.goto(address)
    found = []
    for menu in page.locator("details.menu").all():
        menu.locator("summary").click()
        found += judge_as_it_is(
            page, f"{address}, {menu.locator('summary').inner_text() or 'the account menu'}", "details.menu[open]"
        )
        found += out_of_view(page, menu.locator("> div"), address)
        menu.evaluate("menu => { menu.open = false }")
    for button in ("[data-opens=keys]", "main [data-confirm]:not(.later)"):
        if not page.locator(button).count():
            continue
        page.locator(button).first.evaluate("button => button.click()")
        dialog = page.locator("dialog[open]")
        expect(dialog).to_have_count(1)
        found += judge_as_it_is(page, f"{address}, dialog of {button}", "dialog[open]") + out_of_view(
            page, dialog, address
        )
        page.keyboard.press("Escape")
    return found


def out_of_view(page: Page, part: Locator, address: str) -> list[str]:
    found = []
    for size in SIZES:
        page.set_viewport_size(size)  # type: ignore[arg-type]
        box = part.bounding_box()
        if box is None or box["x"] < 0 or box["x"] + box["width"] > size["width"]:
            found.append(f"{address} at {size['width']} px: {box} is not in view")
    return found


def judge_all(page: Page, url: str, addresses: Iterable[str]) -> None:
    found = [line for address in addresses for line in judge(page, url + address)]
    page.context.close()
    assert not found, "\n".join(found)


def test_no_page_is_left_out(full: Site) -> None:
    app = create_app(**full.stack.settings)
    routes = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    app.extensions["yadtq"].close()
    others = {
        "static",
        "live.ws",
        "metrics.metrics",
        "health.healthz",
        "health.readyz",
        "auth.login_page",
        "failed.count",
    }
    endpoints = {rule.endpoint for rule in routes if not rule.endpoint.startswith("api.")} - others
    assert endpoints == set(full.pages())


def test_pages_with_nothing_on_them(empty: Stack, browser: Browser) -> None:
    judge_all(empty.sign_in(browser), empty.url, chain(*ALWAYS.values()))


def test_pages_with_everything_on_them(full: Site, browser: Browser) -> None:
    judge_all(full.stack.sign_in(browser), full.stack.url, chain(*full.pages().values()))


@pytest.mark.parametrize("path", ["/tasks", "/failed"])
def test_a_search_box_with_its_suggestions(full: Site, browser: Browser, path: str) -> None:
    page = full.stack.sign_in(browser)
    page.goto(full.stack.url + path)
    page.locator("#q").press_sequentially("queue:")
    expect(page.get_by_role("option").first).to_contain_text("queue:")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option", selected=True)).to_have_count(1)

    found = judge_as_it_is(page, path)

    expect(page.get_by_role("option", selected=True)).to_have_count(1)
    page.context.close()
    assert not found, "\n".join(found)


def test_pages_that_tell_of_a_mistake(full: Site, browser: Browser) -> None:
    judge_all(full.stack.sign_in(browser, "viewer"), full.stack.url, [*ABSENT, "/submit", "/audit"])


def test_forms_that_come_back_with_mistakes(full: Site, browser: Browser) -> None:
    page = full.stack.sign_in(browser)
    page.goto(f"{full.stack.url}/password")
    for label in ("Current password", "New password", "New password, again"):
        page.get_by_label(label, exact=True).fill(label)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("alert").get_by_role("link")).to_have_text(["New password, again"])
    found = judge_as_it_is(page, "/password with a mistake")
    page.goto(f"{full.stack.url}/tokens")
    page.get_by_label("Name", exact=True).fill("for-ever")
    page.get_by_role("button", name="Make the token").click()
    expect(page.get_by_role("alert")).to_contain_text("There is a token named for-ever already")
    found += judge_as_it_is(page, "/tokens with a mistake")
    page.context.close()
    assert not found, "\n".join(found)


def test_menus_and_dialogs(full: Site, browser: Browser) -> None:
    page, url = full.stack.sign_in(browser), full.stack.url
    pages = full.pages()
    found = [
        line
        for address in ("/", "/tasks", pages["workers.show"][0], f"/tasks/{full.ids[TaskStatus.FAILED]}")
        for line in judge_opened(page, url + address)
    ]
    page.context.close()
    assert not found, "\n".join(found)


def test_pages_while_redis_is_away(without_redis: tuple[Stack, EmbeddedRedis], browser: Browser) -> None:
    stack, redis = without_redis
    page = stack.sign_in(browser)
    redis.stop()
    judge_all(page, stack.url, chain(*ALWAYS.values()))


def test_the_sign_in_page(empty: Stack, browser: Browser) -> None:
    judge_all(browser.new_context().new_page(), empty.url, ["/login", "/login?token=used"])
