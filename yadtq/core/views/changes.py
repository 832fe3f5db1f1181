"""What changed since when, and what wakes those who wait for it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from yadtq.core.views.base import Reads
from yadtq.core.views.models import Changes, Mark
from yadtq.core.yadtq_result_db import ResultStore


class ChangeReads(Reads):
    """The stream of changes."""

    def server_time(self) -> float:
        """Redis' clock in seconds."""
        return self._store.time_ms() / 1000

    def change_mark(self) -> Mark:
        """Where the stream of changes is now."""
        pipe = self._store.client.pipeline(transaction=True)
        self._ask_mark(pipe)
        return _mark(*self._store.guard(pipe.execute))

    def _ask_mark(self, pipe: Any) -> None:
        pipe.mget(self._store.key("epoch"), self._store.key("seq"))
        pipe.info("server")

    def changes(self, since: int, limit: int = 2000) -> Changes:
        """What changed after change number ``since``."""
        upd = self._store.key("upd")
        pipe = self._store.client.pipeline(transaction=True)
        self._ask_mark(pipe)
        pipe.zrange(upd, 0, 0, withscores=True)
        pipe.zcard(upd)
        pipe.zrangebyscore(upd, f"({since}", "+inf", start=0, num=limit + 1, withscores=True)
        marked, server, oldest, size, rows = self._store.guard(pipe.execute)
        mark = _mark(marked, server)
        # A full list may have dropped changes older than its oldest entry.
        cut_off = size >= 10_000 and oldest and oldest[0][1] > since + 1
        complete = not cut_off and len(rows) <= limit and since <= mark.seq
        members = [raw.decode().partition(":")[::2] for raw, _ in rows]
        by_kind = {kind: {name for k, name in members if k == kind} for kind in ("t", "w", "q")}
        return Changes(mark.epoch, mark.seq, bool(complete), by_kind["t"], by_kind["w"], by_kind["q"])

    def watch_changes(self) -> Watcher:
        """Woken by Redis' keyspace notification whenever anything changes."""
        db = self._store.client.connection_pool.connection_kwargs.get("db") or 0
        return Watcher(self._store, f"__keyspace@{db}__:{self._store.key('upd')}")

    def watch_task(self, task_id: str) -> Watcher:
        """Woken when this task ends."""
        return Watcher(self._store, self._store.key("done:", task_id))

    def notifications_enabled(self) -> bool | None:
        """Whether Redis sends the notifications that wake the live pages; None where it does not tell."""
        try:
            flags = str(self._store.client.config_get("notify-keyspace-events").get("notify-keyspace-events", ""))
        except Exception as error:  # managed servers refuse CONFIG in many ways
            if "CONFIG" in str(error).upper() or "NOPERM" in str(error):
                return None
            raise self._store.unavailable(error) from error
        return "K" in flags and ("z" in flags or "A" in flags)


def _mark(marked: list[bytes | None], server: dict[str, Any]) -> Mark:
    """A server that has come back may count changes anew that it had lost, so its run is part of the epoch."""
    epoch, seq = marked
    return Mark(f"{epoch.decode()}-{server['run_id'][:12]}" if epoch else "", int(seq or 0))


class Watcher:
    """One subscription. A message is only a wake-up: what happened is read elsewhere, so a lost one costs time, never truth."""

    def __init__(self, store: ResultStore, channel: str) -> None:
        self._store = store
        self._pubsub = store.client.pubsub()
        store.guard(lambda: self._pubsub.subscribe(channel))

    def wait(self, timeout: float) -> bool:
        """True when woken, also by each (re)subscription, since messages may have been missed before it; False after ``timeout`` seconds.

        All messages that have come are taken: left alone they would pile up in Redis, which then hangs up.

        Raises:
            ResultStoreUnavailable: the connection is lost; the next wait subscribes again.
        """
        deadline = time.monotonic() + timeout
        while not self._next(max(0.0, deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                return False
        while self._next(0.0):
            pass
        return True

    def _next(self, timeout: float) -> bool:
        return self._store.guard(partial(self._pubsub.get_message, timeout=timeout)) is not None

    def close(self) -> None:
        self._pubsub.close()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
