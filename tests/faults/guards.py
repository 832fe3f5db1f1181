"""The engine's guards, each with a way to take it out of a worker process of the fault tests."""

from __future__ import annotations


def take_out(guard: str) -> None:
    """Change the production code of this process so that it works without one guard."""
    raise KeyError(f"no guard is named {guard!r}")
