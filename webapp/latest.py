"""The latest answer of a server that may be slow: one look at a time, by a thread of its own, and no page waits for it long."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from webapp.wording import as_sentence
from yadtq.errors import YadtqError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
log = logging.getLogger(__name__)

_YOUNG = 10.0  # seconds
_SHORT = 0.2  # seconds


@dataclass(frozen=True)
class Glance(Generic[T]):
    """What is known just now."""

    value: T | None  # the last answer; None where there has been none
    age: float  # seconds
    trouble: str  # why there is no newer one, as a sentence; empty where there is none to tell


class Latest(Generic[T]):
    """Asks when somebody wants to know, and remembers."""

    def __init__(self, name: str, look: Callable[[], T]) -> None:
        self._name = name
        self._look = look
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._began = self._ended = self._answered = float("-inf")  # monotonic
        self._value: T | None = None
        self._trouble = ""
        self._closed = False

    def get(self, *, fresh: float, wait: float) -> Glance[T]:
        """The answer, looked for anew where the last look is older than ``fresh`` seconds.

        Nobody waits longer than until that look is ``wait`` seconds old, or a fifth of a second where the last answer
        is young: then that one has to do.
        """
        with self._changed:
            if time.monotonic() - self._ended > fresh and self._thread is None and not self._closed:
                self._began = time.monotonic()
                self._thread = threading.Thread(target=self._run, name=f"yadtq-{self._name}", daemon=True)
                self._thread.start()
            if time.monotonic() - self._ended > fresh:
                patience = min(wait, _SHORT) if time.monotonic() - self._answered < _YOUNG else wait
                self._changed.wait_for(
                    lambda: self._thread is None, max(0.0, self._began + patience - time.monotonic())
                )
            late = self._thread is not None and time.monotonic() - self._began >= wait > 0
            trouble = self._trouble or (f"Kafka has not answered for {wait:g} s." if late else "")
            return Glance(self._value, time.monotonic() - self._answered, trouble)

    def close(self) -> None:
        """Look no more."""
        with self._changed:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join(15)

    def _run(self) -> None:
        value, trouble = None, ""
        try:
            value = self._look()
        except YadtqError as error:
            trouble = as_sentence(str(error))
        except Exception:
            log.exception("a look at %s failed", self._name)
            trouble = "The look at it failed; the log of this web process says why."
        with self._changed:
            self._ended = time.monotonic()
            self._trouble = trouble
            if not trouble:
                self._value, self._answered = value, self._ended
            self._thread = None
            self._changed.notify_all()
