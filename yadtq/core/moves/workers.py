"""Moves of workers: claim, rebuild, finish, beat, reject, release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yadtq.core.moves.base import CONTROL_FOR, Moves, Reply, flat, seconds_to_ms
from yadtq.core.yadtq_codec import INLINE_LIMIT


@dataclass(frozen=True)
class ClaimItem:
    """One record to claim."""

    id: str
    gen: int
    token: str
    record_time: int  # ms
    envelope: bytes  # empty unless over the inline limit


class WorkerMoves(Moves):
    """What a worker does to tasks and tells of itself."""

    def claim(
        self, inc: str, worker: str, items: Sequence[ClaimItem], *, era: str = "", reasserts: bool = False
    ) -> Reply:
        """An answer per record; none where ``era``, if given, is not that of Redis."""
        row_lives, told_in = seconds_to_ms(self._shortest_ttl), self._steady_for
        args = [inc, worker, int(reasserts), self._tombstone_ttl, row_lives, era, told_in]
        for item in items:
            args += (item.id, item.gen, item.token, item.record_time, item.envelope)
        return self.run("claim", *args)

    def rebuild(self, rows: Iterable[tuple[Any, ...]]) -> Reply:
        """Rows lost with Redis: (id, gen, name, queue, record time ms, expires ms or "", envelope, args JSON, preview)."""
        return self.run("rebuild", self._recheck, self._failed_ttl, *flat(rows))

    def report(self, runs: Iterable[tuple[str, str, bytes]]) -> Reply:
        """What running tasks tell: (id, token, report)."""
        return self.run("report", *flat(runs))

    def finish(self, inc: str, runs: Iterable[tuple[Any, ...]], *, reports: Mapping[str, bytes] | None = None) -> Reply:
        """Ended runs: (id, token, kind, short, whole, reason, delay ms, history entry).

        ``whole`` is a long result, or the fingerprint of a failure; ``reports`` is what runs told last, by token.
        """
        told = reports or {}
        unit = seconds_to_ms(self.settings.time_scale)
        return self.run(
            "fin",
            inc,
            self._result_ttl,
            self._failed_ttl,
            self._tombstone_ttl,
            INLINE_LIMIT,
            unit,
            len(told),
            *flat(told.items()),
            *flat(runs),
        )

    def beat(self, inc: str, about: str, state: str, held: Iterable[str], era: str = "", *, heard: int = 0) -> Reply:
        """One incarnation is alive; ``heard`` is the number of the last command that it has obeyed.

        What runs under a token that is not ``held`` is given back after a while, if ``era`` is still that of Redis.
        """
        return self.run(
            "beat",
            inc,
            self._largest_gap,
            self._unheld_after,
            self._tombstone_ttl,
            about,
            state,
            self._accepts,
            heard,
            CONTROL_FOR,
            era,
            *held,
        )

    def reject_record(self, task_id: str, queue: str, partition: int, offset: int, why: str) -> Reply:
        """The record at these coordinates is not run: end the task if it is its own; REJECTED, OTHER or UNPUBLISHED."""
        return self.run("reject", self._failed_ttl, task_id, queue, partition, offset, "", why)

    def release(self, inc: str, held: Iterable[tuple[str, str]], *, leave: bool, era: str = "") -> Reply:
        """Hand back (id, token)s; with ``leave`` the incarnation is taken off the list of workers.

        Nothing is done where ``era``, if given, is not that of Redis.
        """
        return self.run("release", inc, self._tombstone_ttl, int(leave), era, *flat(held))
