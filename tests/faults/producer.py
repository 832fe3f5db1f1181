"""The client under test: submits a mix of tasks at a steady pace and writes down what it was promised."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from yadtq import ResultStoreUnavailable, SubmitUncertain, TaskClient

SHORT, LONG = 0.005, 0.2  # seconds of work

Call = tuple[str, tuple[Any, ...]]  # a task's name and arguments


@dataclass(frozen=True)
class Promise:
    """What ``submit`` was asked when it returned an id."""

    name: str
    args: tuple[Any, ...]
    at: float = field(default_factory=time.time)  # seconds since the epoch

    @property
    def value(self) -> int:
        """What the task has to come to."""
        number: int = self.args[0]
        return number * number


@dataclass
class Ledger:
    """The producer's log."""

    promises: dict[str, Promise] = field(default_factory=dict)  # by the id that submit() returned
    uncertain: set[str] = field(default_factory=set)  # ids of SubmitUncertain: may or may not be there
    errors: list[str] = field(default_factory=list)  # submits that returned no id
    seconds: list[float] = field(default_factory=list)  # each submit's own

    def slowest(self, share: float) -> float:
        """The time within which this share of the submits was done, in seconds."""
        return sorted(self.seconds)[int(len(self.seconds) * share) - 1]


class Producer:
    """One thread that submits; ``pace`` in tasks a second. Several may write into one ledger."""

    def __init__(self, client: TaskClient, seed: int, ledger: Ledger | None = None) -> None:
        self.ledger = Ledger() if ledger is None else ledger
        self._client = client
        self._random = random.Random(seed)
        self._threads: list[threading.Thread] = []

    def submit(self, name: str, *args: Any, **options: Any) -> str | None:
        """One submit, noted; None where it failed with the error it promises."""
        begun_at = time.monotonic()
        try:
            task_id = self._client.options(**options).submit(name, *args)
        except SubmitUncertain as error:
            self.ledger.uncertain.add(error.task_id)
            self.ledger.errors.append(str(error))
            return None
        except ResultStoreUnavailable as error:
            self.ledger.errors.append(str(error))
            return None
        finally:
            self.ledger.seconds.append(time.monotonic() - begun_at)
        self.ledger.promises[task_id] = Promise(name, args)
        return task_id

    def mix(self, count: int, pace: float) -> None:
        """Submit one by one: 90 % short tasks, 9 % long ones, 1 % that fail once and then succeed."""
        begun_at = time.monotonic()
        for number in range(count):
            name, args = self._of_mix(number)
            self.submit(name, *args)
            time.sleep(max(0.0, begun_at + (number + 1) / pace - time.monotonic()))

    def mix_at_once(self, count: int) -> None:
        """The same in one call: what is measured then is the way to the workers, not the pace of this process."""
        self._at_once([self._of_mix(number) for number in range(count)])

    def many(self, count: int, seconds: float) -> None:
        """Submit so many tasks of this length at once."""
        self._at_once([("square", (number, seconds)) for number in range(count)])

    def _of_mix(self, number: int) -> Call:
        kind = self._random.random()
        return ("flaky", (number,)) if kind < 0.01 else ("square", (number, SHORT if kind < 0.91 else LONG))

    def _at_once(self, tasks: list[Call]) -> None:
        for task_id, (name, args) in zip(self._client.submit_many(tasks), tasks, strict=True):
            self.ledger.promises[task_id] = Promise(name, args)

    def start_mix(self, count: int, pace: float) -> threading.Thread:
        """The same in a thread of its own."""
        thread = threading.Thread(target=self.mix, args=(count, pace), name="producer", daemon=True)
        thread.start()
        self._threads.append(thread)
        return thread

    def join(self, timeout: float = 300.0) -> None:
        """Wait until everything has been submitted."""
        for thread in self._threads:
            thread.join(timeout)
            assert not thread.is_alive(), "the producer is stuck"
