"""A Chromium for the run, and stacks to point it at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.helpers import new_settings
from tests.integration.web_stack import Stack
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium on PATH; CI must have one")
        pytest.skip("no Chromium on PATH; install one to run the browser tests")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def new_stack(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[Callable[..., Stack]]:
    """Makes stacks, each with settings of its own; ends them with the run."""
    stacks: list[Stack] = []

    def make(**web: str) -> Stack:
        stacks.append(Stack(new_settings(kafka, redis_server), **web))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.stop()


@pytest.fixture(scope="session")
def stack(new_stack: Callable[..., Stack]) -> Stack:
    """The stack most tests share: its hub looks once a minute, so only notifications are fast."""
    made = new_stack(YADTQ_LIVE_POLL="60")
    made.start_worker()
    return made
