"""One thing that needs a person, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cure:
    """A button of those who may act: a form that is sent, or a link to where it is asked again first."""

    words: str
    url: str
    sent: bool = True
    task: str = ""  # goes with the form
    title: str = ""


@dataclass(frozen=True)
class Concern:
    """One thing to look at."""

    level: str  # failed or warn, as of an alarm
    icon: str
    title: str
    text: str
    url: str = ""
    look: str = "Look"  # what the link to the address says
    at: float | None = None  # a moment the text ends with
    command: str = ""  # one that mends it
    cures: tuple[Cure, ...] = ()
