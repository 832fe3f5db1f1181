"""What tests of every level use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], timeout: float = 10.0, *, every: float = 0.02) -> Found:
    """The first true value of ``look()``, or a failure that says how long it was waited for."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found!r} after {timeout:.0f} s: {getattr(look, '__name__', look)}")
        time.sleep(every)
    return found
