"""What the list of tasks is asked for: search, tab, order and place, all of it in the address."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flask import request, url_for

from webapp.params import oldest_first, wanted_status
from yadtq.core.views.paging import read_cursor
from yadtq.core.yadtq_query import Query, parse_query
from yadtq.core.yadtq_task import TaskStatus

if TYPE_CHECKING:
    from yadtq.core.yadtq_views import Views

_WORD = re.compile(r'-?(?:[A-Za-z_]+:)?(?:"[^"]*"|[^\s"]+)')
_STATUS = re.compile(r"status:", re.IGNORECASE)


@dataclass(frozen=True)
class Listing:
    """One list as its address says."""

    typed: str = ""  # in the search box
    tab: str = ""  # a state, or all
    oldest_first: bool = False
    cursor: str | None = None

    @classmethod
    def asked_for(cls) -> Listing:
        """That of the present request; an unknown state is answered by a 400."""
        tab = wanted_status()
        return cls(request.args.get("q", "").strip(), tab or "", oldest_first(), request.args.get("cursor") or None)

    @property
    def text(self) -> str:
        """Box and tab as one search, as a bulk job takes it."""
        return f"{self.typed} status:{self.tab}".strip() if self.tab else self.typed

    def query(self) -> Query:
        """Raises InvalidQuery."""
        return parse_query(self.text)

    def address(self, cursor: str | None = None) -> str:
        """This list, at its beginning or at a cursor."""
        order = "oldest" if self.oldest_first else None
        return url_for("tasks.index", q=self.typed or None, status=self.tab or None, order=order, cursor=cursor)

    def of(self, tab: str) -> Listing:
        """The same search in another tab, which takes the place of a state that was typed."""
        words = [word for word in self.words if not _STATUS.match(word)]
        return replace(self, typed=" ".join(words), tab=tab)

    def ordered(self, oldest_first: bool) -> Listing:
        """The same list from its other end."""
        return replace(self, oldest_first=oldest_first)

    def without(self, word: str) -> Listing:
        """The same list with one word less."""
        return replace(self, typed=" ".join(one for one in self.words if one != word))

    @property
    def words(self) -> list[str]:
        """What was typed, word by word."""
        return _WORD.findall(self.typed)


def shown_tab(listing: Listing, query: Query) -> str:
    """The tab that is lit: the one chosen, or the only state that was typed."""
    return listing.tab or (query.statuses[0] if len(query.statuses) == 1 else "")


def tallies(reads: Views, listing: Listing) -> dict[TaskStatus, int] | None:
    """How many each tab holds for this search; None where that would take looking at every task."""
    if not listing.typed:
        return reads.counts()
    base = parse_query(listing.of("").typed)
    if not base.plain or base.group or base.job:
        return None
    return {status: reads.count(replace(base, statuses=(status.value,))).total for status in TaskStatus}


def reached(cursor: str | None) -> float | None:
    """The moment, in seconds since the epoch, that a cursor stands at."""
    _, place = read_cursor(cursor)
    return None if place is None else place.score / 1e6
