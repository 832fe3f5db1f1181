"""Fixtures of the fault tests: one cluster a run, one trial a test, and how long a form they take."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cluster import Cluster
from tests.faults.trial import Trial
from yadtq.embedded import EmbeddedError

NewTrial = Callable[..., Trial]


@dataclass(frozen=True)
class Form:
    """How much of a fault test is done: whole by ``make soak``, short in CI."""

    whole: bool

    def tasks(self, whole: int, short: int) -> int:
        return whole if self.whole else short

    @property
    def scale(self) -> float:
        """The engine's time scale: the shipped one, or a beat of 1 s and a lease of 6."""
        return 1.0 if self.whole else 0.2


BUDGET = 480  # seconds that CI has for the tests of this folder
took: list[float] = []  # seconds of each step of them
SOAK = os.environ.get("SOAK", "")  # 1: every test, whole; short: every test, in its short form


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that take too long for every day are left to ``make soak``."""
    if not SOAK:
        later = pytest.mark.skip(reason="runs in `make soak` alone (SOAK=1): it takes too long for every day")
        for item in items:
            if item.get_closest_marker("soak"):
                item.add_marker(later)


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    if item.get_closest_marker("faults"):
        took.append(call.duration)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the short form took of the time that CI has for it; a busy machine takes longer, so nothing fails by it."""
    if took and SOAK != "1":
        terminalreporter.write_line(f"fault tests took {sum(took):.0f} s of {BUDGET} s")


@pytest.fixture(scope="session")
def form() -> Form:
    return Form(whole=SOAK == "1")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        with Cluster(tmp_path_factory.mktemp("faults")) as cluster:
            yield cluster
    except EmbeddedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture
def seed() -> int:
    """A new one each time; a failing test prints it, and the variable repeats it."""
    return int(os.environ.get("SOAK_SEED") or random.randrange(1_000_000))


@pytest.fixture
def new_trial(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path, seed: int, form: Form
) -> Iterator[NewTrial]:
    """Makes the test's trial; settings by name, and ``options`` for the workers."""
    with ExitStack() as stack:

        def make(options: dict[str, Any] | None = None, **settings: Any) -> Trial:
            ours = {"time_scale": form.scale, "grace": 10.0, **settings}
            return stack.enter_context(Trial(request.node.name, cluster, tmp_path, seed, ours, **(options or {})))

        yield make
