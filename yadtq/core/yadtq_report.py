"""What a running task tells of itself: its progress, and the log records made in its thread. Bounded, and nothing where it tells nothing.

No locks here: an error may be raised in a task at any moment, also within its call of a logger. One thread adds,
others read.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
from collections import deque
from typing import Any, Protocol

from yadtq.errors import TaskCancelled, TaskTimeout

MOST_LINES = 200
MOST_BYTES = 16_384  # of the lines as JSON: the newest stay
MOST_LINE = 2000  # characters of one line; its beginning and its end stay
MOST_NOTE = 200  # characters

_formatter = logging.Formatter()


class Told(Protocol):
    """Where the words of a run go."""

    def log(self, at: float, level: str, text: str) -> None: ...
    def progress(self, at: float, done: float, total: float | None, note: str) -> None: ...


class Teller(Protocol):
    """What runs tasks one after the other."""

    def telling(self) -> Told | None:
        """Where what the present run tells goes; None between two runs."""


class Report:
    """What one run has told so far."""

    __slots__ = ("_lines", "_numbers", "_progress", "_said", "version", "written")

    def __init__(self) -> None:
        self._lines: deque[tuple[float, str, str]] = deque(maxlen=MOST_LINES)
        self._progress: tuple[float, float, float | None, str] | None = None
        self._numbers = itertools.count(1)
        self._said = 0  # lines, with those that are gone
        self.version = 0  # rises with each word
        self.written = 0  # the version that Redis has

    def log(self, at: float, level: str, text: str) -> None:
        self._lines.append((round(at, 3), level, clean(text)))
        self._said += 1
        self.version = next(self._numbers)

    def progress(self, at: float, done: float, total: float | None, note: str) -> None:
        self._progress = (round(at, 3), done, total, note)
        self.version = next(self._numbers)

    def to_json(self, attempt: int) -> bytes:
        """``{"attempt", "progress": [at, done, total, note] or null, "lines": [[at, level, text], …], "said"}``."""
        kept: list[bytes] = []
        left = MOST_BYTES
        for line in reversed(self._lines.copy()):
            kept.append(json.dumps(line, ensure_ascii=False).encode())
            left -= len(kept[-1])
            if left < 0:
                kept.pop()
                break
        rest = {"attempt": attempt, "progress": self._progress, "said": self._said}
        return json.dumps(rest).encode()[:-1] + b', "lines":[' + b",".join(reversed(kept)) + b"]}"


def clean(text: str) -> str:
    """Text of a bounded length that every encoding can hold."""
    if len(text) > MOST_LINE:
        text = f"{text[: MOST_LINE // 2]} … {text[-MOST_LINE // 2 + 3 :]}"
    return text.encode(errors="replace").decode()


class Capture:
    """One per process: gives each log record to the run in whose thread it was made.

    It makes the records (``logging.setLogRecordFactory``) and is no handler: one on the root logger would keep
    ``logging.basicConfig`` and the last resort of programs that configure nothing from working.
    """

    def __init__(self) -> None:
        self.threads: dict[int, Teller] = {}  # by thread id
        self.others: Teller | None = None  # whose the records of all other threads are
        self._installed = False

    def install(self) -> None:
        """Begin; twice is once."""
        if self._installed:
            return
        self._installed = True
        make = logging.getLogRecordFactory()

        def make_and_tell(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = make(*args, **kwargs)
            teller = self.threads.get(threading.get_ident(), self.others)
            told = teller.telling() if teller is not None else None
            if told is not None:
                told.log(record.created, record.levelname, _text(record))
            return record

        logging.setLogRecordFactory(make_and_tell)


def _text(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text += "\n" + _formatter.formatException(record.exc_info)
        return text
    except (TaskCancelled, TaskTimeout):
        raise  # meant for the task
    except Exception:  # noqa: BLE001 -- wrong arguments: the program's own handlers say so
        return str(record.msg)


capture = Capture()
