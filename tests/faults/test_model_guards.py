"""Every guard that shows in no scene is needed, and a test of the model fails where it is not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.faults.children import ROOT
from tests.faults.model_guards import MODEL_GUARDS, ModelGuard

FAILED = re.compile(r"^FAILED (?P<test>\S+)(?P<why>.*)$", re.MULTILINE)
EACH = [
    pytest.param(guard, id=name, marks=[] if guard.daily else pytest.mark.soak) for name, guard in MODEL_GUARDS.items()
]


@pytest.mark.parametrize("guard", EACH)
def test_a_test_of_the_model_sees_that_the_guard_is_missing(guard: ModelGuard) -> None:
    """By what it asserts: a move that cannot even run would prove nothing."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", f"tests/model/{guard.file}::{guard.test}"]
    environment = {**os.environ, "WITHOUT_GUARD": guard.name, "COLUMNS": "400"}  # so that no reason is cut off
    done = subprocess.run(command, check=False, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    failed = FAILED.search(done.stdout)
    assert failed, f"nobody noticed: {done.stdout}{done.stderr}"
    assert guard.test in failed["test"]
    assert "assert" in failed["why"].lower(), done.stdout


@pytest.mark.parametrize("guard", MODEL_GUARDS.values(), ids=list(MODEL_GUARDS))
def test_what_takes_a_guard_out_fits_the_production_code(guard: ModelGuard) -> None:
    for patch in guard.patches:
        patch.check()


@pytest.mark.parametrize("guard", MODEL_GUARDS.values(), ids=list(MODEL_GUARDS))
def test_the_test_of_the_model_is_there(guard: ModelGuard) -> None:
    assert f"\ndef {guard.test}(" in (ROOT / "tests" / "model" / guard.file).read_text()
