"""Every guard of the engine is needed, and the oracle sees when it is not there.

Each scene is played twice: with the engine as it is, and with one guard taken out of its processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.guard_scenes import SCRIPTS
from tests.faults.guards import GUARDS, Guard
from tests.faults.oracle import Verdict
from tests.faults.scene import Bench, Scene
from yadtq.embedded import EmbeddedKafka

PlayScene = Callable[..., Verdict]

daily = [pytest.param(guard, id=name) for name, guard in GUARDS.items() if guard.daily]
by_soak = [pytest.param(guard, id=name, marks=pytest.mark.soak) for name, guard in GUARDS.items() if not guard.daily]


@pytest.fixture(scope="module")
def bench(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(kafka, tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def play(bench: Bench, tmp_path: Path) -> PlayScene:
    """Plays a guard's scene, with it or without; fails with the oracle's lines."""

    def play(guard: Guard, *, without: bool = False) -> Verdict:
        script = SCRIPTS[guard.scene]
        missing = [guard.name] if without else []
        with Scene(bench, tmp_path, missing, script.settings, concurrency=script.slots) as scene:
            verdict = script.play(scene)
        verdict.must_be_clean(*script.allows)
        return verdict

    return play


@pytest.mark.faults
@pytest.mark.parametrize("guard", daily + by_soak)
def test_the_engine_keeps_its_promises(play: PlayScene, guard: Guard) -> None:
    play(guard)


@pytest.mark.faults
@pytest.mark.parametrize("guard", daily + by_soak)
def test_the_oracle_sees_that_the_guard_is_missing(play: PlayScene, guard: Guard) -> None:
    with pytest.raises(AssertionError, match=rf"^the oracle says .*\b{guard.line}: \d"):
        play(guard, without=True)


@pytest.mark.parametrize("guard", GUARDS.values(), ids=list(GUARDS))
def test_what_takes_a_guard_out_fits_the_production_code(guard: Guard) -> None:
    for patch in guard.patches:
        patch.check()
