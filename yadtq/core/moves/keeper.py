"""Moves of the keeper: reap, due, sweep, reject, audit, requeue."""

from __future__ import annotations

from collections.abc import Iterable

from yadtq.core.moves.base import Moves, Reply, flat, seconds_to_ms


class KeeperMoves(Moves):
    """What keeps house for everybody."""

    def reap(self, inc: str) -> list[str]:
        """Declare silent incarnations dead and move their tasks on; returns them."""
        offline = seconds_to_ms(self.offline_after)
        reply = self.run(
            "reap", inc, offline, self._largest_gap, self._steady_for, self._tombstone_ttl, self._failed_ttl
        )
        return [item.decode() for item in reply.items]

    def due(self, limit: int) -> int:
        """Move up to ``limit`` tasks whose time has come; returns how many there were."""
        reply = self.run("due", limit, self._tombstone_ttl, self._failed_ttl, self._steady_for)
        return int(reply.items[0])

    def sweep(self, limit: int) -> Reply:
        """Outbox entries to publish again; items are id, gen, queue, hand-backs, envelope, flat."""
        return self.run("sweep", limit, self._recheck, self._failed_ttl)

    def audit(self, limit: int) -> list[tuple[str, int, str, int | None, int | None]]:
        """Long queued tasks without an outbox entry: (id, gen, queue, partition, offset)."""
        items = [
            item.decode() for item in self.run("audit", seconds_to_ms(300 * self.settings.time_scale), limit).items
        ]
        rows = (items[i : i + 5] for i in range(0, len(items), 5))
        return [
            (i, int(gen), queue, int(part) if part else None, int(off) if off else None)
            for i, gen, queue, part, off in rows
        ]

    def reject_envelope(self, task_id: str, queue: str, envelope: bytes, why: str) -> str:
        """This envelope is not published: end the task that still has it; REJECTED or OTHER."""
        return str(self.run("reject", self._failed_ttl, task_id, queue, "", "", envelope, why).items[0].decode())

    def requeue(self, tasks: Iterable[tuple[str, int]]) -> list[str]:
        """(id, gen)s whose record is gone: published again, or failed; returns those published again."""
        return [item.decode() for item in self.run("requeue", self._failed_ttl, *flat(tasks)).items]
