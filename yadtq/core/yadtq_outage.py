"""One log line when a server goes away and one when it is back, not one for each try; few when it comes and goes."""

from __future__ import annotations

import logging
import threading
import time

STEADY = 60.0  # seconds without an outage after which a server counts as steady again
TOLD_SINGLY = 3  # outages in a row, each within that time of the last, that are told one by one


class OutageLog:
    """Remembers whether a server is away; thread-safe.

    Once a server goes away more often than ``TOLD_SINGLY`` times in a row, one line says that it comes and goes,
    and one sums up when it has been steady, or away, for ``STEADY`` seconds.
    """

    def __init__(self, logger: logging.Logger, server: str, meanwhile: str) -> None:
        self._logger = logger
        self._server = server
        self._meanwhile = meanwhile  # what happens until it is back
        self._since: float | None = None  # when it went away; None while it answers
        self._ended = float("-inf")  # when the last outage ended
        self._outages = 0  # in a row
        self._away_for = 0.0  # seconds, in those outages
        self._silent = False  # it comes and goes, which has been said
        self._lock = threading.Lock()
        self.sentence = ""  # why it is away, '' while it answers

    def down(self, sentence: str) -> None:
        """It does not answer; ``sentence`` says where, why and what to do."""
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._begin(now, sentence)
            elif self._silent and now - self._since >= STEADY:
                self._silent = False
                self._logger.warning("%s; it has been away for %.0f s now", sentence, now - self._since)

    def up(self) -> None:
        """It answers."""
        if self._since is None and not self._silent:
            return  # the common case, without the lock
        with self._lock:
            now = time.monotonic()
            if self._since is not None:
                self._end(now, now - self._since)
            elif self._silent and now - self._ended >= STEADY:
                self._silent = False
                self._logger.warning(
                    "%s has answered for %.0f s without a break, after %d outages of %.1f s in all",
                    self._server,
                    now - self._ended,
                    self._outages,
                    self._away_for,
                )

    def _begin(self, now: float, sentence: str) -> None:
        self._since, self.sentence = now, sentence
        if now - self._ended >= STEADY:
            self._outages, self._away_for, self._silent = 0, 0.0, False
        self._outages += 1
        if self._silent:
            return
        if self._outages <= TOLD_SINGLY:
            self._logger.warning("%s; %s", sentence, self._meanwhile)
            return
        self._silent = True
        self._logger.warning(
            "%s; %s. It comes and goes, %d times by now: more is said once it has been steady for %.0f s",
            sentence,
            self._meanwhile,
            self._outages,
            STEADY,
        )

    def _end(self, now: float, lasted: float) -> None:
        self._since, self._ended, self.sentence = None, now, ""
        self._away_for += lasted
        if not self._silent:
            self._logger.warning("%s answers again after %.1f s", self._server, lasted)
