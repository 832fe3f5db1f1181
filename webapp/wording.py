"""Lengths of time, numbers and sentences as people read them."""

from __future__ import annotations

DAY, HOUR, MINUTE = 86_400, 3_600, 60


def duration(seconds: float | None) -> str:
    """A length of time: ``12 ms``, ``0.4 s``, ``38 s``, ``1 min 04 s``, ``1 h 15 min``, ``6 d 4 h``."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds >= 0.0995 else f"{max(seconds, 0) * 1000:.0f} ms"
    return _whole_units(round(seconds))


def _whole_units(whole: int) -> str:
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE:02d} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def number(value: float) -> str:
    """With thousands set apart."""
    return f"{value:,}"


def as_sentence(text: str) -> str:
    """With a capital letter and a full stop."""
    return text[:1].upper() + text[1:].rstrip(".") + "."
