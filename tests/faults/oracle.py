"""What became of every task: the producer's ledger beside the runs that workers wrote down, Redis, and the commits."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.producer import Ledger
from yadtq import TaskResult


class Run(NamedTuple):
    """One run of one task, as its worker wrote it down; times in seconds since the epoch."""

    id: str
    attempt: int
    fence: int
    token: str
    pid: int
    begun_at: float
    ended_at: float | None  # None: the process died in it

    @property
    def incarnation(self) -> str:
        return self.token.partition(":")[0]


def read_runs(folder: Path) -> list[Run]:
    """All runs of all workers, by the time they began."""
    begun: dict[tuple[str, int, int], Run] = {}
    for path in folder.glob("runs-*.log"):
        for line in path.read_text().splitlines():
            word, task_id, attempt, fence, token, pid, at = line.split()
            key = (task_id, int(fence), int(pid))
            if word == "begin":
                assert key not in begun, f"task {task_id} began twice with fence {fence} in process {pid}"
                begun[key] = Run(task_id, int(attempt), int(fence), token, int(pid), float(at), None)
            else:
                begun[key] = begun[key]._replace(ended_at=float(at))
    return sorted(begun.values(), key=lambda run: run.begun_at)


@dataclass
class Verdict:
    """The oracle's lines. Each list holds ids or sentences; empty is good."""

    accepted: int = 0  # ids that submit() returned
    ended: int = 0
    excused: list[str] = field(
        default_factory=list
    )  # the same as lost, where the documents allow this fault to lose them
    lost: list[str] = field(default_factory=list)  # accepted, and not ended by the deadline
    unexpected: list[str] = field(default_factory=list)  # run, and never submitted
    two_outcomes: list[str] = field(default_factory=list)  # different outcomes were accepted at different times
    wrong: list[str] = field(default_factory=list)  # ended otherwise than it had to
    fences: list[str] = field(
        default_factory=list
    )  # a fence or token twice, or an accepted run that was not the newest
    too_early: list[str] = field(default_factory=list)  # offsets committed over records still needed
    still_running: list[str] = field(default_factory=list)  # in state processing when all had ended
    tracebacks: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)  # run more often than promised; kept where nothing explains it
    late: list[str] = field(default_factory=list)  # ended after the time that the test had set for them
    re_executed: int = 0  # runs beyond the first one of an attempt
    samples: int = 0  # looks at the committed offsets
    samples_due: int = 0  # with fewer than these, what was committed too early may not have been seen
    runs: list[Run] = field(default_factory=list)

    LINES = (
        "lost", "unexpected", "two_outcomes", "wrong", "fences", "too_early", "still_running", "tracebacks", "twice", "late",
    )  # fmt: skip

    def failures(self) -> dict[str, list[str]]:
        """The lines that are not empty, by name."""
        return {line: found for line in self.LINES if (found := getattr(self, line))}

    def excuse(self, may_be_lost: set[str]) -> None:
        """Take from the lost tasks those that may be."""
        self.excused = [task_id for task_id in self.lost if task_id in may_be_lost]
        self.lost = [task_id for task_id in self.lost if task_id not in may_be_lost]

    def must_be_clean(self, *but: str) -> None:
        """Fail with the oracle's lines, unless all are empty; ``but`` names lines that this fault allows."""
        found = {line: what for line, what in self.failures().items() if line not in but}
        said = "; ".join(f"{line}: {len(what)}, such as {what[0]}" for line, what in found.items())
        assert not found, f"the oracle says {said}"
        assert self.samples >= self.samples_due, f"only {self.samples} looks at the commits of {self.samples_due} due"

    def summary(self) -> dict[str, Any]:
        """Counts alone, for a report."""
        counts: dict[str, Any] = {line: len(getattr(self, line)) for line in self.LINES}
        return {
            "accepted": self.accepted,
            "ended": self.ended,
            "excused": len(self.excused),
            **counts,
            "re_executed": self.re_executed,
            "samples": self.samples,
        }


def judge_runs(verdict: Verdict, runs: Sequence[Run], known: set[str]) -> None:
    """What the workers' own files say."""
    verdict.runs = list(runs)
    verdict.unexpected = sorted({run.id for run in runs} - known)
    verdict.re_executed = re_executions(runs)
    fences = Counter((run.id, run.fence) for run in runs)
    verdict.fences += [
        f"fence {fence} of task {task_id} was given {n} times" for (task_id, fence), n in fences.items() if n > 1
    ]
    tokens = Counter(run.token for run in runs)
    verdict.fences += [f"token {token} was given {n} times" for token, n in tokens.items() if n > 1]


def judge_outcomes(
    verdict: Verdict,
    ledger: Ledger,
    results: Mapping[str, TaskResult],
    outcomes: Mapping[str, set[tuple[str, Any]]],
) -> None:
    """What Redis holds at the end, and what it accepted on the way."""
    newest: dict[str, int] = defaultdict(int)
    for run in verdict.runs:
        newest[run.id] = max(newest[run.id], run.fence)
    verdict.accepted = len(ledger.promises)
    for task_id, promise in ledger.promises.items():
        result = results.get(task_id)
        if result is None or not result.done:
            # A result lives a day: a row that is gone was accepted as ended before, or is lost.
            if result is not None or task_id not in outcomes:
                verdict.lost.append(task_id)
            else:
                verdict.ended += 1
            continue
        verdict.ended += 1
        if promise.name == "poison":
            if result.reason != "worker_lost":
                verdict.wrong.append(f"{task_id}: poison ended as {result.status}, {result.reason}")
        elif not result.ok or result.result[0] != promise.value:
            verdict.wrong.append(
                f"{task_id}: {promise.name}{promise.args} ended as {result.status}: {result.error or result.result}"
            )
        elif result.result[1] != newest[task_id]:
            verdict.fences.append(
                f"the accepted run of task {task_id} has fence {result.result[1]}, the newest {newest[task_id]}"
            )
    verdict.two_outcomes = [
        f"{task_id}: {sorted(map(str, found))}" for task_id, found in outcomes.items() if len(found) > 1
    ]


def re_executions(runs: Sequence[Run], but: Container[str] = ()) -> int:
    """How many runs began beyond the first one of an attempt, ``but`` of these tasks."""
    attempts = Counter((run.id, run.attempt) for run in runs if run.id not in but)
    return sum(count - 1 for count in attempts.values())


def rerun_delays(runs: Sequence[Run], deaths: Mapping[int, float]) -> list[float]:
    """Seconds from a worker's death (by its pid) to the next run of each task that died with it."""
    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_task[run.id].append(run)
    delays = []
    for run in runs:
        died_at = deaths.get(run.pid)
        if died_at is not None and run.ended_at is None:
            later = [other.begun_at for other in by_task[run.id] if other.begun_at > died_at]
            delays += [min(later) - died_at] if later else []
    return delays


def first_begin_after(runs: Sequence[Run], moment: float) -> float:
    """Seconds from a moment to the first run that began after it."""
    return min(run.begun_at for run in runs if run.begun_at > moment) - moment


def rejoin_delay(
    runs: Sequence[Run], results: Mapping[str, TaskResult], pid: int, moment: float, *, renewed: bool = False
) -> float:
    """Seconds from a moment until a process began a run that became one of these results; infinite where there is none.

    ``renewed``: by an incarnation that had begun nothing before, since the old one was declared dead.
    """
    own = [run for run in runs if run.pid == pid]
    old = {run.incarnation for run in own if renewed and run.begun_at <= moment}
    for run in own:
        if run.begun_at > moment and run.incarnation not in old and _accepted(run, results):
            return run.begun_at - moment
    return math.inf


def _accepted(run: Run, results: Mapping[str, TaskResult]) -> bool:
    result = results.get(run.id)
    return result is not None and result.ok and bool(result.result[1] == run.fence)


def longest_pause(moments: Iterable[float]) -> float:
    """The most seconds between one moment and the next."""
    return max((later - earlier for earlier, later in pairwise(sorted(moments))), default=0.0)


def longest_standstill(runs: Sequence[Run], results: Mapping[str, TaskResult]) -> float:
    """The most seconds in which a partition began no task although one of its tasks waited for its first run."""
    begun: dict[str, float] = {}
    for run in runs:
        begun.setdefault(run.id, run.begun_at)
    partitions: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for task_id, result in results.items():
        if task_id in begun and result.partition is not None and result.submitted_at is not None:
            partitions[result.partition].append((begun[task_id], result.submitted_at))
    return max(map(_pause_of_a_partition, partitions.values()))


def _pause_of_a_partition(tasks: list[tuple[float, float]]) -> float:
    """The same of one partition's tasks, each as (begun at, submitted at)."""
    longest, later, waiting_since = 0.0, math.inf, math.inf
    for begun_at, submitted_at in sorted(tasks, reverse=True):
        if later < math.inf:  # nothing began between this task and the next
            longest = max(longest, later - max(begun_at, waiting_since))
        later, waiting_since = begun_at, min(waiting_since, submitted_at)
    return max(longest, later - waiting_since)
