"""What wakes the hub: Redis' notifications where they can be had, the clock everywhere."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from yadtq.core.yadtq_trouble import REFUSED
from yadtq.errors import ResultStoreUnavailable

if TYPE_CHECKING:
    from yadtq.config import Settings
    from yadtq.core.yadtq_views import Views, Watcher

log = logging.getLogger(__name__)

_DEAF = 60.0  # seconds until a refused subscription is tried again


class Ear:
    """Of one thread of the hub."""

    def __init__(self, views: Views, settings: Settings) -> None:
        self._views = views
        self._settings = settings
        self._watcher: Watcher | None = None
        self._deaf_until = 0.0 if settings.live_notifications else float("inf")

    def wait(self, seconds: float) -> bool:
        """Whether a notification ended the wait.

        Raises:
            ResultStoreUnavailable: the connection is lost; the next wait makes another.
        """
        if time.monotonic() < self._deaf_until:
            time.sleep(seconds)
            return False
        try:
            if self._watcher is None:
                self._watcher = self._views.watch_changes()
            return self._watcher.wait(seconds)
        except ResultStoreUnavailable as error:
            if error.kind != REFUSED:
                raise
            self._deaf_until = time.monotonic() + _DEAF
            log.warning("the live pages look by themselves every %g s: %s", self._settings.live_poll, error)
            return False

    def check(self) -> None:
        """Say it where Redis would not notify: at the start, and after a restart, which forgets what CONFIG SET had set."""
        try:
            if self._settings.live_notifications and self._views.notifications_enabled() is False:
                log.warning(
                    "Redis sends no notifications, so the live pages are up to %g s late: "
                    "add Kz to notify-keyspace-events",
                    self._settings.live_poll,
                )
        except ResultStoreUnavailable as error:
            log.debug("Redis' flags cannot be read just now: %s", error)

    def close(self) -> None:
        """Unsubscribe."""
        if self._watcher is not None:
            self._watcher.close()
