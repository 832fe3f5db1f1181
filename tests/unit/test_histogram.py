"""Log buckets: how far a percentile may be off, and that sums are sums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq.core.yadtq_histogram import LAST, Histogram, bucket_of, middle_of

TIMES = st.lists(st.integers(1, 10**9), min_size=1, max_size=100)  # ms; up to 11 days


def histogram(times: list[int]) -> Histogram:
    return Histogram.sum(Histogram({bucket_of(ms): 1}) for ms in times)


@given(st.integers(1, 10**9))
def test_a_bucket_stands_for_its_values_to_a_tenth(ms: int) -> None:
    assert middle_of(bucket_of(ms)) == pytest.approx(ms / 1000, rel=0.0906)


@given(TIMES, st.floats(0, 1))
def test_a_percentile_is_a_value_that_this_share_did_not_exceed(times: list[int], share: float) -> None:
    exact = sorted(times)[max(1, -(-int(share * len(times) * 1e9) // 10**9)) - 1] / 1000
    found = histogram(times).percentile(share)
    neighbours = [middle_of(bucket_of(ms)) for ms in times]
    assert found in neighbours
    assert found == pytest.approx(exact, rel=0.0906) or len(times) * share % 1 < 1e-6


@given(TIMES, TIMES)
def test_sums_are_those_of_all_values(a: list[int], b: list[int]) -> None:
    assert histogram(a) + histogram(b) == histogram(a + b)
    assert histogram(a + b).total == len(a) + len(b)


def test_nothing_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None
    assert Histogram().total == 0


def test_the_ends() -> None:
    assert [bucket_of(ms) for ms in (0, 0.5, 1, 2, 4, 1024)] == [0, 0, 1, 5, 9, 41]
    assert bucket_of(10**15) == LAST
    assert middle_of(0) == 0.0005
