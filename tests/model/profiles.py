"""How long the machines look: a little in CI and by default, long with ``HYPOTHESIS_PROFILE=soak``."""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, settings

SOAK = 25  # times as many examples
SHRINKING = (
    3600 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 900
)  # seconds a machine may take, also to tell a failure briefly


def race_seeds(races: int) -> list[int]:
    """The same ones every day; new ones in the soak, which the tests' names tell and ``SOAK_SEED`` repeats."""
    if "SOAK_SEED" in os.environ:
        return [int(os.environ["SOAK_SEED"])]
    soak = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
    return random.sample(range(1_000_000), races * SOAK) if soak else list(range(races))


def machine_settings(examples: int, steps: int) -> settings:
    """Settings for a state machine that ``examples`` runs of ``steps`` steps suit every day."""
    soak = os.environ.get("HYPOTHESIS_PROFILE") == "soak"
    factor = SOAK if soak else 1
    return settings(
        max_examples=int(os.environ.get("YT_MODEL_EXAMPLES", examples * factor)),
        stateful_step_count=steps,
        deadline=None,
        derandomize=not soak,  # every day the same examples, so that a change is what makes a run fail; the soak seeks new ones
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
