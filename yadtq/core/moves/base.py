"""What every group of moves stands on: one script call, the times that settings give, the reply."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from yadtq.config import Settings
from yadtq.core.yadtq_codec import key_fingerprint

CONTROL_FOR = 60_000  # ms a command waits for its worker
MOST_CONTROLS = 100  # commands that may wait for one worker


@dataclass(frozen=True)
class Reply:
    """What every script answers: the era it speaks for, Redis' time, and one value per item."""

    era: str
    now: int  # ms
    items: list[Any]


class Moves:
    """Moves of one store; each raises ResultStoreUnavailable, or Unanswered when it was sent and no answer came."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        fingerprints = [f",{key_fingerprint(key)}," for key in settings.signing_keys]
        self._signs_with = fingerprints[0] if fingerprints else ",unsigned,"
        self._accepts = "".join(fingerprints) if settings.signing_required else ""
        scale = settings.time_scale
        self.offline_after = 30.0 * scale  # seconds of silence after which a worker counts as dead
        self._recheck = seconds_to_ms(20 * scale)
        self._largest_gap = seconds_to_ms(10 * scale)
        self._steady_for = seconds_to_ms(15 * scale)
        self._unheld_after = seconds_to_ms(15 * scale)
        self._result_ttl = int(max(settings.result_ttl, 7200))
        self._failed_ttl = int(max(settings.failed_ttl, 7200))  # a duplicate record must still find the row
        self._shortest_ttl = min(self._result_ttl, self._failed_ttl)
        self._tombstone_ttl = int(max(self._result_ttl, settings.topic_retention))

    def run(self, move: str, *args: Any) -> Reply:
        """Run one script once."""
        raise NotImplementedError


def seconds_to_ms(seconds: float) -> int:
    return int(seconds * 1000)


def flat(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The values of all rows, one after the other, as scripts take them."""
    return [value for row in rows for value in row]
