"""When a failed attempt is repeated: how often, after what pause, after which errors. Pure.

The pause is exponential backoff with full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture
Blog, 2015): uniform between 0 and min(longest, base · 2ⁿ).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from yadtq.errors import DoNotRetry


@dataclass(frozen=True)
class RetryPolicy:
    """How one task is retried."""

    retries: int  # attempts after the first
    backoff: float  # seconds the first pause is at most
    longest: float  # seconds no pause exceeds
    no_retry: tuple[type[BaseException], ...] = ()  # errors that fail the task at once

    def allows(self, attempt: int, error: BaseException) -> bool:
        """Whether another attempt follows attempt number ``attempt`` (from 1) that ended in ``error``."""
        return attempt <= self.retries and not isinstance(error, (DoNotRetry, *self.no_retry))

    def pause(self, attempt: int, rng: random.Random | None = None) -> float:
        """Seconds until the next attempt."""
        bound = min(self.longest, self.backoff * 2.0 ** min(attempt - 1, 60))
        return (rng or random).uniform(0, bound)
