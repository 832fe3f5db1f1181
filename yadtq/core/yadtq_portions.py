"""Calls to Redis in portions: each must pass a slow line before Redis' answer is given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

CALL_BYTES = 4 * 1024 * 1024  # of what tasks carry or gave back, in one call

T = TypeVar("T")


def portions(items: Iterable[T], most: int, size: Callable[[T], int]) -> Iterator[list[T]]:
    """Lists of up to ``most`` items and CALL_BYTES, in order; an item that is larger goes alone."""
    portion: list[T] = []
    held = 0
    for item in items:
        bytes_ = size(item)
        if portion and (len(portion) >= most or held + bytes_ > CALL_BYTES):
            yield portion
            portion, held = [], 0
        portion.append(item)
        held += bytes_
    if portion:
        yield portion
