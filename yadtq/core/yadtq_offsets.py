"""Which offset of a partition may be committed when tasks end out of order. Pure.

Only received offsets count: gaps (compaction, transactions) are normal and never waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class OffsetWindow:
    """One partition's received offsets, from the lowest unfinished one on."""

    def __init__(self) -> None:
        self._received: deque[int] = deque()  # ascending; the head is the lowest not yet done
        self._done: set[int] = set()  # done, but behind an unfinished one
        self._last = -1  # the highest offset ever received
        self._committed = -1  # the highest offset whose commit Kafka has accepted

    def receive(self, offset: int) -> bool:
        """Note a record as received; False if it is not new (a refetch)."""
        if offset <= self._last:
            return False
        self._received.append(offset)
        self._last = offset
        return True

    def done(self, offsets: Iterable[int]) -> None:
        """Note records as no longer needed; repeats and offsets never received are harmless."""
        received, done = self._received, self._done
        head = received[0] if received else self._last + 1
        done.update(offset for offset in offsets if head <= offset <= self._last)
        while received and received[0] in done:
            done.discard(received.popleft())
        if not received:
            done.clear()

    @property
    def head(self) -> int | None:
        """The lowest received offset not yet done."""
        return self._received[0] if self._received else None

    @property
    def span(self) -> int:
        """Records from the lowest unfinished to the highest received."""
        return len(self._received)

    @property
    def finished_share(self) -> float:
        """How much of the span is done, 0 to 1."""
        return len(self._done) / len(self._received) if self._received else 0.0

    @property
    def committable(self) -> int | None:
        """The offset up to which (exclusive) everything received is done; None before anything was received."""
        if self._received:
            return self._received[0]
        return self._last + 1 if self._last >= 0 else None

    def next_commit(self) -> int | None:
        """The offset to commit now, if it is further than the last one confirmed."""
        offset = self.committable
        return offset if offset is not None and offset > self._committed else None

    def confirm_commit(self, offset: int) -> None:
        """Kafka has accepted the commit; never goes backwards."""
        self._committed = max(self._committed, offset)
