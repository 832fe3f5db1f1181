"""Pictures of every page for the docs: ``python -m tests.browser.screenshots docs/screenshots``, or of the pages named after it.

A real Kafka, Redis, web and workers serve an imaginary shop for a few minutes; then every page is taken light and
dark, at 1360 px and on a phone of 390 px.
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.business import Shop, open_shop
from yadtq.core.yadtq_views import parse_query

WARM_UP = 150  # seconds of business before the pictures
HIGHEST = 1_900  # pixels of a picture; what is below is more of the same
SIZES = {"": (1360, 850), "phone-": (390, 844)}

FORMS: dict[str, dict[str, Any]] = {
    f"{size}{scheme}": {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    for size, (width, height) in SIZES.items()
    for scheme in ("light", "dark")
}


def pages_of(shop: Shop) -> dict[str, str]:
    """The address of each page that is pictured."""

    def task(query: str) -> str:
        return f"/tasks/{shop.views.search(parse_query(query), limit=1).items[0].id}"

    failed = task("status:failed name:charge_card")
    group = next(one for one in shop.views.failure_groups() if one.name == "billing.charge_card")
    busy = [worker.id for worker in shop.views.workers() if worker.running]
    return {
        "overview": "/",
        "tasks": "/tasks?q=queue:media",
        "suggestions": "/tasks?q=status:failed+name:mail",
        "task-running": task("status:processing name:transcode args:showreel"),
        "task-waiting": task("status:queued queue:reports"),
        "task-failed": failed,
        "task-done": task("status:success name:resize_image"),
        "again": f"{failed}/again",
        "failed": "/failed",
        "rejected": "/failed/rejected",
        "bulk": f"/bulk?action=retry&q=group:{group.fingerprint}",
        "workers": "/workers",
        "worker": f"/workers/{busy[0]}",
        "kafka": "/kafka",
        "functions": "/submit",
        "submit": "/submit?task=media.resize_image",
        "submitted": f"{task('status:success name:resize_image')}/submitted",
        "audit": "/audit",
        "users": "/users",
        "tokens": "/tokens",
        "sessions": "/sessions",
        "password": "/password",
        "not-found": "/tasks/7f3a9c1f",
    }


def shoot_all(browser: Browser, folder: Path, shop: Shop, wanted: Collection[str] = ()) -> None:
    """Every page, or those that are wanted, in every form."""
    folder.mkdir(parents=True, exist_ok=True)
    for form, context in FORMS.items():
        if not wanted or "login" in wanted:
            stranger = browser.new_context(**context).new_page()
            stranger.goto(f"{shop.url}/login")
            shoot(stranger, folder / f"login-{form}.webp")
            stranger.context.close()
        page = shop.sign_in(browser, **context)
        for name, path in pages_of(shop).items():
            if not wanted or name in wanted:
                visit(page, shop.url + path, context)
                if name == "suggestions":
                    begin_to_search(page)
                shoot(page, folder / f"{name}-{form}.webp")
        page.context.close()


def begin_to_search(page: Page) -> None:
    """Type half a word and choose what it may become."""
    page.locator("#q").fill("status:failed name:m")
    page.get_by_role("option").filter(has_text="name:mail").wait_for()
    page.keyboard.press("ArrowDown")


def shoot_changes(browser: Browser, folder: Path, shop: Shop, wanted: Collection[str] = ()) -> None:
    """A bulk job that has ended, and the pages while Redis is down: they change what the others show."""
    pages = {form: shop.sign_in(browser, **context) for form, context in FORMS.items()}
    if not wanted or "job" in wanted:
        address = shop.url + shop.mend()
        for form, page in pages.items():
            visit(page, address, FORMS[form])
            shoot(page, folder / f"job-{form}.webp")
    if not wanted or "redis-down" in wanted:
        shop.redis_server.stop()
        for form, page in pages.items():
            page.set_viewport_size(FORMS[form]["viewport"])
            page.goto(shop.url + "/tasks")
            shoot(page, folder / f"redis-down-{form}.webp")
        shop.redis_server.start()
    for page in pages.values():
        page.context.close()


def visit(page: Page, address: str, context: dict[str, Any]) -> None:
    """Open a page and wait until it lives and its charts are drawn."""
    page.set_viewport_size(context["viewport"])
    page.goto(address)
    if page.locator("#live").count():
        page.wait_for_selector('#live[data-live="live"]')
    page.wait_for_timeout(400)  # the charts


def shoot(page: Page, path: Path) -> None:
    """One picture, as high as the page, so that a phone's menu is where it belongs."""
    width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
    page.set_viewport_size({"width": width, "height": min(height, HIGHEST)})
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, lossless=True, method=6)


def with_browser(work: Callable[[Browser], None]) -> None:
    """Do it with a Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        work(browser)
        browser.close()


def main(folder: Path, *wanted: str) -> None:
    """Open the shop, let it trade for a while, take the pictures."""
    with open_shop() as shop:
        time.sleep(WARM_UP)
        shop.remember_an_hour()
        shop.give_access()
        shop.staff_at_work()
        with_browser(lambda browser: shoot_all(browser, folder, shop, wanted))
        with_browser(lambda browser: shoot_changes(browser, folder, shop, wanted))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
