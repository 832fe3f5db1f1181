"""When pages are told to read themselves again: all of a kind at once, so that one rendering serves them, and not too often."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from webapp.concern import VIEWS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from webapp.subscriber import Subscriber

REFRESH, RESYNC = "refresh", "resync"  # patch what differs; or take the list as it is now


class Turns:
    """Owned by the hub's thread. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._stale: dict[Subscriber, str] = {}
        self._told: dict[tuple[str, str], float] = {}  # when the pages of a view and subject had their last turn

    def mark(self, subscribers: Iterable[Subscriber], word: str) -> None:
        """These pages are out of date; they are told when their turn comes, and never forgotten."""
        for subscriber in subscribers:
            if self._stale.get(subscriber) != RESYNC:
                self._stale[subscriber] = word

    def take(self, everyone: Iterable[Subscriber], now: float) -> dict[Subscriber, str]:
        """Those whose turn it is, with their words."""
        groups: dict[tuple[str, str], list[Subscriber]] = defaultdict(list)
        for subscriber in everyone:
            groups[subscriber.view, subscriber.subject].append(subscriber)
        self._told = {key: self._told.get(key, now - VIEWS[key[0]].pace) for key in groups}
        due: dict[Subscriber, str] = {}
        for key, members in groups.items():
            view, passed = VIEWS[key[0]], now - self._told[key]
            if view.every is not None and passed >= view.every:
                self.mark(members, REFRESH)
            stale = {member: self._stale[member] for member in members if member in self._stale}
            if stale and passed >= view.pace:
                self._told[key] = now
                due |= stale
        left = {member for members in groups.values() for member in members} - due.keys()
        self._stale = {member: word for member, word in self._stale.items() if member in left}
        return due

    def wait(self, now: float, longest: float) -> float:
        """Seconds until the next turn of somebody who is out of date, at most ``longest``."""
        turns = [self._told.get((s.view, s.subject), now) + VIEWS[s.view].pace - now for s in self._stale]
        return max(0.0, min([longest, *turns]))
