"""Moves of clients and of people: submit, acknowledge, cancel, retry, delete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from yadtq.core.moves.base import CONTROL_FOR, MOST_CONTROLS, Moves, Reply, flat, seconds_to_ms
from yadtq.core.yadtq_codec import INLINE_LIMIT
from yadtq.errors import ConfigError

UNSIGNED = b"UNSIGNED"  # answered in place of ids: the workers would reject what this client signs


@dataclass(frozen=True)
class NewTask:
    """One task to accept."""

    id: str
    name: str
    queue: str
    envelope: bytes
    args_json: str
    preview: str
    delay: float = 0.0  # seconds
    expires: float | None = None  # seconds from now
    key: str | None = None


class ClientMoves(Moves):
    """What a client, or a person through it, does to tasks."""

    def enqueue(self, tasks: Sequence[NewTask]) -> Reply:
        """Accept tasks; items are their ids (an earlier one where the idempotency key is known).

        With the setting ``durable`` it returns once they are on disk.

        Raises:
            ConfigError: the workers would reject what this client signs, or does not sign.
            NotOnDisk: they are accepted, but the disk has not confirmed it.
        """
        args: list[Any] = [self._recheck, self._signs_with]
        for task in tasks:
            expires = "" if task.expires is None else seconds_to_ms(task.expires)
            args += (
                task.id,
                task.name,
                task.queue,
                seconds_to_ms(task.delay),
                expires,
                task.envelope,
                task.args_json,
                task.preview,
            )
            args.append(hashlib.sha256(f"{task.name}\n{task.key}".encode()).hexdigest() if task.key else "")
        reply = self.run("enq", *args)
        if reply.items == [UNSIGNED]:
            raise ConfigError(
                "the workers take only tasks signed with their keys, and this client does not have the one in use: "
                "set YADTQ_SIGNING_KEYS as theirs (beside `yadtq up`: set -a; . .yadtq/env; set +a)"
            )
        return reply

    def published(self, records: Iterable[tuple[str, int, int, int]]) -> Reply:
        """Kafka has acknowledged (id, gen, partition, offset)."""
        return self.run("pubd", INLINE_LIMIT, *flat(records))

    def cancel(self, task_id: str, asked_at: int, by: str = "") -> str:
        """As :meth:`cancel_many`, of one task."""
        return self.cancel_many([task_id], asked_at, by)[0]

    def cancel_many(self, ids: Iterable[str], asked_at: int, by: str = "") -> list[str]:
        """Each one's status afterwards, ``stopping`` for a running task, ``""`` for an unknown one.

        ``asked_at`` in ms of Redis time; ``by`` is the person, for the tasks' histories.
        """
        return _words(self.run("cancel", asked_at, self._tombstone_ttl, by, *ids))

    def retry(self, task_id: str, asked_at: int, envelope: bytes = b"", by: str = "") -> list[str]:
        """As :meth:`retry_many`, of one task."""
        return self.retry_many([(task_id, envelope)], asked_at, by)[0]

    def retry_many(self, tasks: Iterable[tuple[str, bytes]], asked_at: int, by: str = "") -> list[list[str]]:
        """(id, envelope or nothing)s; each one's status found, ``""`` for an unknown one.

        Or NOENVELOPE, queue, gen, partition, offset of the record to read the envelope from. ``asked_at`` as in
        :meth:`cancel_many`: what has ended since is left alone, since it may have been retried by this very call.
        """
        return [word.split(" ") for word in _words(self.run("retry", by, asked_at, *flat(tasks)))]

    def delete_many(self, ids: Iterable[str], by: str = "") -> list[str]:
        """Each one ``deleted``, ``stopping`` for a running task, ``""`` for an unknown one."""
        return _words(self.run("delete", self._tombstone_ttl, by, *ids))

    def note(self, entries: Iterable[tuple[str, str]]) -> Reply:
        """Lines (id, JSON) for the histories of tasks that are there."""
        return self.run("note", *flat(entries))

    def control(self, inc: str, command: str) -> str:
        """Ask one worker to ``pause``, ``resume``, ``shutdown`` or ``detach:<task id>``; OK, GONE or FULL."""
        return _words(self.run("control", inc, command, CONTROL_FOR, MOST_CONTROLS))[0]

    def oldest(self, among: int) -> Reply:
        """Since when tasks have waited, by queue; for the reads."""
        return self.run("oldest", among)

    def walk(
        self,
        indexes: Sequence[str],
        place: tuple[int | str, str],
        bounds: tuple[int | str, int | str],
        count: int,
        fields: Sequence[str],
        known: Iterable[bytes],
        *,
        down: bool,
    ) -> Reply:
        """A stretch of an index; for the reads."""
        direction = "down" if down else "up"
        return self.run("walk", direction, *bounds, *place, count, len(indexes), *indexes, len(fields), *fields, *known)


def _words(reply: Reply) -> list[str]:
    return [item.decode() for item in reply.items]
