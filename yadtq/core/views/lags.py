"""Each partition's lag from minute to minute: noted by whoever looks at Kafka first in a minute, kept for an hour."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from yadtq.core.views.base import Reads
from yadtq.core.yadtq_result_db import ResultStore

MINUTES = 60
_LIFE = MINUTES * 60 + 120  # seconds


def note_lags(store: ResultStore, lags: Mapping[str, Sequence[int]]) -> None:
    """Note lags by topic, partition by partition, for the present minute; the first note counts.

    Raises:
        ResultStoreUnavailable
    """
    key, value = store.key("lag:", str(_minute(store))), json.dumps(lags)
    store.guard(lambda: store.client.set(key, value, ex=_LIFE, nx=True))


class LagReads(Reads):
    """Lags over time."""

    def lag_is_noted(self) -> bool:
        """Whether somebody has noted the present minute's."""
        key = self._store.key("lag:", str(_minute(self._store)))
        return bool(self._store.guard(lambda: self._store.client.exists(key)))

    def lags(self) -> list[dict[str, list[int]]]:
        """Of the last hour's minutes that were noted, oldest first: by topic, partition by partition."""
        last = _minute(self._store)
        keys = [self._store.key("lag:", str(last - 60 * back)) for back in range(MINUTES - 1, -1, -1)]
        found = self._store.guard(lambda: self._store.client.mget(keys))
        return [json.loads(value) for value in found if value]


def _minute(store: ResultStore) -> int:
    now = store.time_ms() // 1000
    return now - now % 60
