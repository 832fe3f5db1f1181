"""Pictures of every page for the docs: ``python -m tests.browser.screenshots docs/screenshots``.

A real Kafka, Redis, web and workers serve an imaginary shop; a few minutes of its tasks, then light and dark at
1360 px and a phone's 390 px.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.helpers import eventually
from tests.integration.web_stack import Stack
from yadtq import TaskClient
from yadtq.core.yadtq_task import TaskStatus
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

TASKS = "tests.browser.shop"
WORKERS = (("media-1", "media", 6), ("media-2", "media", 6), ("mail-1", "mail,default", 4), ("billing-1", "billing", 8))
ORDERS = 150
WARM_UP = 150  # seconds of business before the pictures
HIGHEST = 2_400
FORMS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "dark"},
    "phone-light": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}


class Shop(Stack):
    """A stack with named workers."""

    def hire(self, name: str, queues: str, slots: int) -> None:
        """One more worker process."""
        self._environment["YADTQ_WORKER_NAME"] = name
        self._start("yadtq.cli", "worker", TASKS, "-Q", queues, "-c", str(slots))


@contextmanager
def open_shop() -> Iterator[Shop]:
    """The servers, the web and the workers of the shop."""
    with tempfile.TemporaryDirectory() as folder:
        kafka, redis_server = (
            EmbeddedKafka(Path(folder, "kafka"), ports=[0]),
            EmbeddedRedis(Path(folder, "redis"), port=0),
        )
        kafka.start()
        redis_server.start()
        try:
            shop = Shop({"kafka_servers": kafka.bootstrap_servers, "redis_url": redis_server.url})
            for name, queues, slots in WORKERS:
                shop.hire(name, queues, slots)
            eventually(lambda: len(shop.views.workers()) == len(WORKERS), 60)
            yield shop
            shop.stop()
        finally:
            redis_server.stop()
            kafka.stop()


class Business:
    """What customers do to the shop, until it closes."""

    def __init__(self, client: TaskClient) -> None:
        self._options = client.options
        self._order = 48_000
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def open(self, orders: int) -> None:
        """So many orders at once, then one by one."""
        for _ in range(orders):
            self._sell()
        for n in range(12):
            self._options(queue="mail").submit("mail.send_email", f"someone{n}@nowhere.example", "newsletter")
            later = self._options(queue="mail", delay=3600 + 60 * n)
            later.submit("mail.send_email", f"customer{n}@shop.example", "how-was-it")
        self._options(queue="reports", expires=1).submit("reports.export_csv", "orders", "2026-10-01", "2026-10-31")
        for month in ("2026-09", "2026-10"):
            self._options(queue="reports").submit("reports.build_monthly", month)
        self._thread.start()

    def close(self) -> None:
        """No more orders."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(random.uniform(0.1, 0.9)):
            self._sell()

    def _sell(self) -> None:
        self._order += 1
        order, language = self._order, random.choice(["en", "de", "fr"])
        billing, mail, media = (self._options(queue=queue) for queue in ("billing", "mail", "media"))
        billing.submit("billing.charge_card", order, round(random.uniform(5, 400), 2))
        billing.submit("billing.render_invoice", order, language=language)
        mail.submit("mail.send_email", f"customer{order}@shop.example", "order-received", {"order": order})
        for side in ("front", "side", "top"):
            media.submit("media.resize_image", f"catalog/{order % 97}/{side}.jpg", width=random.choice([640, 1280]))
        if order % 25 == 0:
            media.submit("media.resize_image", f"catalog/tmp/{order} (final).heic")
            media.submit("media.transcode_preview", f"catalog/clips/{order}.mov", 12)


def paths(stack: Stack) -> dict[str, str]:
    """The address of each page that is pictured."""
    newest = {
        str(status): stack.views.tasks(status, limit=1).items[0].id
        for status in (TaskStatus.FAILED, TaskStatus.PROCESSING, TaskStatus.SUCCESS)
    }
    return {
        "overview": "/",
        "tasks": "/tasks",
        "task": f"/tasks/{newest['processing']}",
        "task-failed": f"/tasks/{newest['failed']}",
        "task-done": f"/tasks/{newest['success']}",
        "workers": "/workers",
        "worker": f"/workers/{next(w.id for w in stack.views.workers() if w.running)}",
        "submit": "/submit?task=media.resize_image",
        "not-found": f"/tasks/{uuid.UUID(int=7).hex}",
    }


def shoot(page: Page, path: Path, whole: bool = True) -> None:
    """One picture; a phone's is as high as the page, so that its bar is where it belongs."""
    if whole:
        height = min(page.evaluate("document.documentElement.scrollHeight"), HIGHEST)
        page.set_viewport_size({"width": page.evaluate("innerWidth"), "height": height})
    page.screenshot(path=path)


def shoot_all(browser: Browser, folder: Path, shop: Shop, wanted: Collection[str] = ()) -> None:
    """Every page in every form."""
    folder.mkdir(parents=True, exist_ok=True)
    for form, context in FORMS.items():
        with browser.new_context(**context) as stranger:
            page = stranger.new_page()
            page.goto(f"{shop.url}/login")
            shoot(page, folder / f"login-{form}.png", whole=False)
        page = shop.sign_in(browser, **context)
        for name, path in paths(shop).items():
            if not wanted or name in wanted:
                page.set_viewport_size(context["viewport"])
                page.goto(shop.url + path)
                page.wait_for_timeout(500)  # the live part's first words
                shoot(page, folder / f"{name}-{form}.png")
        page.context.close()


def main(folder: Path) -> None:
    """Open the shop, let it trade for a while, take the pictures."""
    with open_shop() as shop, sync_playwright() as playwright:
        business = Business(shop.client)
        business.open(ORDERS)
        time.sleep(WARM_UP)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shoot_all(browser, folder, shop)
        business.close()
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
