"""The search language: from what a person types to a query that rows are held against. Pure.

``name:resize status:failed,expired -queue:media error:"time out" after:2h before:2026-11-24T10:00 some words``
"""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from yadtq.core.yadtq_task import NAME_PATTERN, TaskStatus
from yadtq.errors import InvalidQuery

MOST_CHARACTERS = 1_000
MOST_TERMS = 20
FIELDS = ("name", "status", "queue", "worker", "args", "error", "reason", "id", "group", "job")
TIMES = ("after", "before")
WHOLE = frozenset({"status", "queue", "reason", "id", "group", "job"})  # fields whose value is a whole, or several
_FEW = frozenset({"name", "status", "queue", "worker", "reason"})  # fields of which few values serve many tasks
_TOKEN = re.compile(r'(-?)(?:([A-Za-z_]+):)?(?:"([^"]*)"|([^\s"]*))(?=\s|$)')
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|min|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True)
class Term:
    """One condition; a text without a field is looked for in all of them."""

    field: str
    value: str  # in lower case
    negated: bool = False

    def matches(self, row: Mapping[str, str]) -> bool:
        if self.field:
            return self._holds(row.get(self.field, "")) != self.negated
        return any(self._holds(text) for text in row.values()) != self.negated

    def _holds(self, text: str) -> bool:
        text = text.lower()
        if "*" in self.value and self.field:
            return fnmatch.fnmatchcase(text, re.sub(r"([\[?])", r"[\1]", self.value))
        if self.field in WHOLE:
            return text in self.value.split(",")
        return self.value in text


@dataclass(frozen=True)
class Query:
    """What is searched for. Statuses, a group or a job, and times choose the index and its part; terms are held against rows."""

    text: str = ""
    terms: tuple[Term, ...] = ()
    statuses: tuple[str, ...] = ()  # any of them; none means all
    group: str = ""  # a fingerprint
    job: str = ""  # the id of a bulk retry
    id: str = ""  # the only task it can be, or a text that may be an id
    after: float | None = None  # seconds since the epoch, of the moment by which the list is ordered
    before: float | None = None

    @property
    def plain(self) -> bool:
        """Whether every row of the index matches."""
        return not self.terms

    @property
    def narrow(self) -> bool:
        """Whether it looks only at what few rows differ in."""
        return all(term.field in _FEW for term in self.terms)

    def matches(self, row: Mapping[str, str]) -> bool:
        """Whether a row, its fields by name, is one of those; it may have moved on since its index was read."""
        return (not self.statuses or row["status"] in self.statuses) and all(term.matches(row) for term in self.terms)


def parse_query(text: str, now: float | None = None) -> Query:
    """The query of what was typed.

    Args:
        now: seconds since the epoch, for spans such as ``after:2h``; the clock's where left out.

    Raises:
        InvalidQuery: it cannot be understood; the message says where and what is allowed.
    """
    moment = time.time() if now is None else now
    terms: list[Term] = []
    times: dict[str, float] = {}
    for name, value, negated in _tokens(text):
        if name in TIMES:
            if negated:
                raise InvalidQuery(f"-{name}: has no meaning; use {'before' if name == 'after' else 'after'}: instead")
            times[name] = _moment(name, value, moment)
        else:
            terms.append(_term(name, value, negated))
    return _arrange(text, terms, times)


def _arrange(text: str, terms: list[Term], times: dict[str, float]) -> Query:
    """What can choose an index does so; the rest is held against its rows."""
    statuses = next((term for term in terms if term.field == "status" and not term.negated), None)
    group = next((term for term in terms if term.field == "group" and not term.negated), None)
    job = next((term for term in terms if term.field == "job" and not term.negated), None)
    chosen = [one for one in (group, job, statuses) if one][:1]
    rest = tuple(term for term in terms if term not in chosen)
    wanted = next(
        (term.value for term in rest if term.field == "id" and not term.negated and "*" not in term.value), ""
    )
    if not wanted and len(rest) == 1 and _may_be_id(rest[0]):
        wanted = rest[0].value
    return Query(
        text=text,
        terms=rest,
        statuses=tuple(dict.fromkeys(statuses.value.split(","))) if statuses is not None and statuses in chosen else (),
        group=group.value if group else "",
        job=job.value if job and not group else "",
        id=wanted,
        after=times.get("after"),
        before=times.get("before"),
    )


def _may_be_id(term: Term) -> bool:
    return not term.field and not term.negated and NAME_PATTERN.fullmatch(term.value) is not None


def _tokens(text: str) -> list[tuple[str, str, bool]]:
    """(field or nothing, value, negated) of each word."""
    if len(text) > MOST_CHARACTERS:
        raise InvalidQuery(f"the search is longer than {MOST_CHARACTERS:,} characters; shorten it")
    found, place = [], 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        match = _TOKEN.match(text, place)
        if match is None:
            raise InvalidQuery(
                'a quotation mark (") is not closed, or stands inside a word; put quotes around a whole value'
            )
        minus, name, quoted, word = match.groups()
        value = word if quoted is None else quoted
        place = match.end()
        if name is None and not value and quoted is None:
            raise InvalidQuery(f"{match[0][:20] or '-'!r} stands alone; write what to search for beside it")
        found.append((_known(name), value, bool(minus)))
    if len(found) > MOST_TERMS:
        raise InvalidQuery(
            f"the search has more than {MOST_TERMS} words; leave some out, or put quotes around a sentence"
        )
    return found


def _known(name: str | None) -> str:
    if name is None:
        return ""
    if name.lower() not in FIELDS + TIMES:
        known = ", ".join(f"{word}:" for word in FIELDS + TIMES)
        raise InvalidQuery(
            f"there is no {name[:40]}: to search by; there are {known}. Put quotes around text with a colon"
        )
    return name.lower()


def _term(name: str, value: str, negated: bool) -> Term:
    if not value.strip():
        raise InvalidQuery(
            f"{name}: needs a value, such as {name}:{_EXAMPLES.get(name, 'abc')}"
            if name
            else "there is nothing between the quotes"
        )
    value = value.lower()
    if name == "status":
        states = [status.value for status in TaskStatus]
        wrong = next((word for word in value.split(",") if word not in states), None)
        if wrong is not None:
            raise InvalidQuery(f"there is no status {wrong[:40]!r}; there are {', '.join(states)}")
    return Term(name, value, negated)


_EXAMPLES = {"name": "resize", "status": "failed", "queue": "default", "error": "timeout"}


def _moment(name: str, value: str, now: float) -> float:
    span = _SPAN.fullmatch(value.lower())
    try:
        if span:
            return now - float(span[1]) * _SECONDS[span[2]]
        at = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value))
        return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidQuery(
            f"{name}:{value[:40]} is no time; write a span such as {name}:2h (s, m, h, d, w) or a time such as {name}:2026-11-24T10:00 (UTC)"
        ) from None
