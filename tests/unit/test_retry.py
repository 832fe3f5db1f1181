"""When a failed attempt is repeated, and after what pause."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yadtq import DoNotRetry
from yadtq.core.yadtq_retry import RetryPolicy


@pytest.mark.parametrize(
    ("retries", "attempt", "allowed"), [(0, 1, False), (1, 1, True), (1, 2, False), (3, 3, True), (3, 4, False)]
)
def test_retries_are_the_attempts_after_the_first(retries: int, attempt: int, allowed: bool) -> None:
    assert RetryPolicy(retries, 1, 60).allows(attempt, ValueError()) is allowed


@pytest.mark.parametrize(
    ("error", "allowed"),
    [
        (ValueError(), False),
        (UnicodeError(), False),  # a kind of ValueError
        (KeyError(), True),
        (DoNotRetry("no"), False),
        (TypeError(), True),
    ],
)
def test_some_errors_end_the_task_at_once(error: Exception, allowed: bool) -> None:
    assert RetryPolicy(9, 1, 60, (ValueError,)).allows(1, error) is allowed


class Highest(random.Random):
    """Always the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0
        return b


def test_the_bound_doubles_up_to_the_longest() -> None:
    policy = RetryPolicy(9, 1.5, 20)
    assert [policy.pause(attempt, Highest()) for attempt in range(1, 7)] == [1.5, 3, 6, 12, 20, 20]


@settings(deadline=None)
@given(st.integers(1, 10**9), st.integers(0, 10**6), st.floats(0, 1e6), st.floats(0.001, 1e6))
def test_a_pause_is_never_negative_nor_too_long(attempt: int, seed: int, backoff: float, longest: float) -> None:
    policy = RetryPolicy(3, backoff, longest)
    assert 0 <= policy.pause(attempt, random.Random(seed)) <= min(longest, backoff * 2.0 ** min(attempt - 1, 60))


def test_pauses_are_spread_over_the_whole_bound() -> None:
    policy, rng = RetryPolicy(3, 8, 60), random.Random(7)
    pauses = [policy.pause(1, rng) for _ in range(2000)]
    assert min(pauses) < 0.1
    assert max(pauses) > 7.9
    assert 3.7 < sum(pauses) / len(pauses) < 4.3
