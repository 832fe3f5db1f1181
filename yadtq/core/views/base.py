"""What every group of reads stands on: the store they read."""

from __future__ import annotations

from yadtq.core.yadtq_result_db import ResultStore


class Reads:
    """Reads of one store; each raises ResultStoreUnavailable."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
