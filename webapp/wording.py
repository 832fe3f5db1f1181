"""Lengths of time, numbers and sentences as people read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def percent(share: float) -> str:
    """``0 %``, ``0.64 %``, ``12 %``; a little is never nothing, nor nearly all the whole."""
    hundredths = 100 * share
    if 0 < hundredths < 0.01 or 99 < hundredths < 100:
        return "< 0.01 %" if share < 0.5 else "> 99 %"
    return f"{hundredths:.2g} %" if hundredths < 10 else f"{hundredths:.0f} %"


def size(count: float | None) -> str:
    """Bytes: ``412 MiB``, ``1.3 GiB``."""
    if count is None:
        return "–"
    unit, value = "MiB", count / 2**20
    if value >= 1024:
        unit, value = "GiB", value / 1024
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:,.0f} {unit}"


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers in short: ``0–3, 7``."""
    runs: list[list[int]] = []
    for one in sorted(numbers):
        if runs and one == runs[-1][1] + 1:
            runs[-1][1] = one
        else:
            runs.append([one, one])
    return ", ".join(f"{first}–{last}" if last > first else f"{first}" for first, last in runs)


def joined(names: Iterable[str]) -> str:
    """Names in a sentence: ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def as_sentence(text: str) -> str:
    """With a capital letter and a full stop, where it is no question."""
    text = text[:1].upper() + text[1:].rstrip(".")
    return text if text.endswith("?") else f"{text}."
