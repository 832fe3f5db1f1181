"""One log line when a server goes away and one when it is back, not one for each try."""

from __future__ import annotations

import logging
import threading
import time


class OutageLog:
    """Remembers whether a server is away; thread-safe."""

    def __init__(self, logger: logging.Logger, meanwhile: str) -> None:
        self._logger = logger
        self._meanwhile = meanwhile  # what happens until it is back
        self._since: float | None = None
        self._lock = threading.Lock()

    def down(self, sentence: str) -> None:
        """It does not answer; ``sentence`` says where, why and what to do."""
        with self._lock:
            if self._since is not None:
                return
            self._since = time.monotonic()
        self._logger.warning("%s; %s", sentence, self._meanwhile)

    def up(self) -> None:
        """It answers."""
        if self._since is None:
            return
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            self._logger.warning("it answers again after %.1f s", time.monotonic() - since)
