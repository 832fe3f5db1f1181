"""Secrets among arguments: masked by their names on the pages, and put back where a form sends the mask."""

from __future__ import annotations

from typing import Any

from yadtq.core.yadtq_codec import MASK, SECRET_NAMES


def masked(value: Any, name: str = "") -> Any:
    """The value with a mask in the place of every named secret, however deep."""
    if name and SECRET_NAMES.search(name) and value is not None:
        return MASK
    if isinstance(value, dict):
        return {key: masked(one, str(key)) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [masked(one) for one in value]
    return value


def restored(value: Any, original: Any) -> Any:
    """The value with the original's secrets where the mask stands in their place."""
    if isinstance(value, dict) and isinstance(original, dict):
        return {key: _restored(key, one, original) for key, one in value.items()}
    if isinstance(value, list) and isinstance(original, (list, tuple)):
        known = list(original) + [None] * len(value)
        return [restored(one, known[index]) for index, one in enumerate(value)]
    return value


def _restored(key: str, value: Any, original: dict[str, Any]) -> Any:
    if value == MASK and key in original and SECRET_NAMES.search(key):
        return original[key]
    return restored(value, original.get(key))
