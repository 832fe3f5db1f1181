"""Every guard of the engine is needed, and the oracle sees when it is not there.

Each scene is played twice: with the engine as it is, and with one guard taken out of its processes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import scenes_of_tasks, scenes_of_workers
from tests.faults.guards import GUARDS, Guard
from tests.faults.model_guards import MODEL_GUARDS
from tests.faults.oracle import Verdict
from tests.faults.patches import Patch, Rotten
from tests.faults.report import Proof, kept
from tests.faults.scene import Bench, Scene, Script
from tests.faults.trial import REPORT_FOLDER
from yadtq.embedded import EmbeddedKafka

Play = Callable[..., None]

SCRIPTS = {
    name: found
    for module in (scenes_of_tasks, scenes_of_workers)
    for name, found in vars(module).items()
    if isinstance(found, Script)
}
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
TABLE = re.compile(r"(<!-- guards: begin[^>]*-->\n).*?(<!-- guards: end -->)", re.DOTALL)

daily = {guard.scene for guard in GUARDS.values() if guard.daily}
SCENES = [pytest.param(name, marks=[] if name in daily else pytest.mark.soak) for name in SCRIPTS]
EACH = [pytest.param(guard, id=name, marks=[] if guard.daily else pytest.mark.soak) for name, guard in GUARDS.items()]


@pytest.fixture(scope="module")
def bench(kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(kafka, tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@pytest.fixture
def play(bench: Bench, tmp_path: Path) -> Play:
    """Plays a scene, with a guard taken out or none; fails with the oracle's lines."""

    def play(scene: str, *without: str) -> None:
        script = SCRIPTS[scene]
        with Scene(bench, tmp_path, without, script.settings, concurrency=script.slots) as stage:
            verdict = script.play(stage)
        verdict.must_be_clean(*script.allows)

    return play


@pytest.mark.faults
@pytest.mark.parametrize("scene", SCENES)
def test_the_engine_keeps_its_promises(play: Play, scene: str) -> None:
    play(scene)


@pytest.mark.faults
@pytest.mark.parametrize("guard", EACH)
def test_the_oracle_sees_that_the_guard_is_missing(play: Play, guard: Guard) -> None:
    with kept(Proof(guard.name, guard.scene, guard.line, time.time()), REPORT_FOLDER):
        with pytest.raises(AssertionError, match=rf"^the oracle says .*\b{guard.line}: \d"):
            play(guard.scene, guard.name)


@pytest.mark.parametrize("guard", GUARDS.values(), ids=list(GUARDS))
def test_what_takes_a_guard_out_fits_the_production_code(guard: Guard) -> None:
    for patch in guard.patches:
        patch.check()


def test_a_patch_whose_text_is_not_there_is_refused() -> None:
    with pytest.raises(Rotten, match="0 times"):
        Patch("fin.lua", "no such line", "").apply()


def test_every_guard_has_its_scene_and_every_scene_its_guard() -> None:
    assert {guard.scene for guard in GUARDS.values()} == set(SCRIPTS)
    assert {guard.line for guard in GUARDS.values()} <= set(Verdict.LINES)


def test_the_page_lists_every_guard_and_no_other() -> None:
    found = TABLE.search(PAGE.read_text())
    assert found, "docs/architecture.md has lost the marks of its guards"
    assert found[0] == found[1] + table() + found[2], "write it anew: python -m tests.faults.test_guards"


def table() -> str:
    lines = ["| guard | rule | without it, the oracle says | in the scene |", "|---|---|---|---|"]
    lines += [f"| {g.name} | {g.rule} | `{g.line}` | {g.scene.replace('_', ' ')} |" for g in GUARDS.values()]
    lines += [
        "",
        "Some rules show in no scene. A test of the model holds each, and fails where the rule is taken out:",
        "",
        "| guard | rule | without it | the test, in |",
        "|---|---|---|---|",
    ]
    for m in MODEL_GUARDS.values():
        test = m.test.removeprefix("test_").replace("_", " ")
        lines.append(f"| {m.name} | {m.rule} | {m.without} | {test}, [{m.file}](../tests/model/{m.file}) |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda found: found[1] + table() + found[2], PAGE.read_text()))
