"""What failures have in common: an error without the numbers, ids, paths and texts that differ from case to case. Pure."""

from __future__ import annotations

import hashlib
import re

_LONGEST = 1000  # characters of an error that are looked at
_VARYING = [
    (re.compile(r"[a-z][a-z0-9+.-]{0,20}://[^\s'\"]+", re.IGNORECASE), "<url>"),
    (re.compile(r"'[^'\n]{0,400}'|\"[^\"\n]{0,400}\"|“[^”\n]{0,400}”"), "<text>"),
    (re.compile(r"(?:[A-Za-z]:)?(?:[\\/][\w.@~+-]+){2,}[\\/]?"), "<path>"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?:0x[0-9a-f]+|(?=[a-f]*[0-9])[0-9a-f]{8,})\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "<n>"),
]


def pattern_of(error: str) -> str:
    """The error with what varies replaced by its kind: ``KeyError: 'a17'`` as ``KeyError: <text>``."""
    text = " ".join(error[:_LONGEST].split())
    for varying, word in _VARYING:
        text = varying.sub(word, text)
    return text


def fingerprint(name: str, error: str) -> str:
    """12 hex digits that failures of one task with one kind of error share; lua/common.lua makes them by the same rule."""
    return hashlib.sha1(f"{name}\n{pattern_of(error)}".encode(errors="replace"), usedforsecurity=False).hexdigest()[:12]
