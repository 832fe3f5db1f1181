"""The report of a soak: a record of each trial while the tests run, and a page with plots made of them afterwards.

``python -m tests.faults.report RECORDS OUTPUT COMMAND`` makes the page, which names the command; the plots need matplotlib, the extra ``soak``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.nemesis import Fault
from tests.faults.oracle import Verdict

GUARDS = "guards"  # the folder of their proofs, in that of the records
COUNTS = {  # of the oracle's summary, as columns
    **{name: name for name in ("accepted", "ended", "excused")},
    **{name: name.replace("_", " ") for name in Verdict.LINES},
    "re_executed": "re-executed",
    "samples": "looks at commits",
}
TOTALS = ("accepted", "lost", "unexpected", "two_outcomes")
ORACLE = (
    "Every line of the oracle must be 0: tasks lost, runs of tasks never submitted, ids with two different accepted "
    "outcomes, wrong results, fences out of order, offsets committed too early, tasks left running, tracebacks. "
    "Re-executions are runs beyond the first of an attempt: the price of a worker's death. Excused are tasks that only "
    "Redis held when it lost its last seconds or everything, as `docs/guarantees.md` says. Recovery is the longest of the "
    "trial's times to recovery, which are among the figures."
)


@dataclass
class Figure:
    """What was measured, and what it must not be higher than; nothing is promised where that is infinite."""

    what: str
    value: float
    at_most: float = math.inf
    recovery: bool = False  # whether it is a time to recovery, in seconds


@dataclass
class Proof:
    """One guard was taken out: whether the oracle failed by the line that it had to."""

    guard: str
    scene: str
    line: str
    begun_at: float
    seen: bool = False

    @classmethod
    def read(cls, path: Path) -> Proof:
        return cls(**json.loads(path.read_text()))


@dataclass
class Record:
    """One trial; times in seconds since the epoch."""

    test: str
    seed: int
    passed: bool
    begun_at: float
    summary: dict[str, Any]  # the oracle's lines as counts
    submit_errors: int
    figures: list[Figure]
    faults: list[Fault]
    ended_at: list[float]  # each task's end, ascending

    @property
    def title(self) -> str:
        """The test's name as words."""
        return self.test.removeprefix("test_").replace("_", " ")

    @property
    def good(self) -> bool:
        """Whether it came to its end, the oracle found nothing, and no figure is too high."""
        clean = not any(self.summary.get(name) for name in Verdict.LINES)
        return self.passed and clean and all(figure.value <= figure.at_most for figure in self.figures)

    @property
    def recovery(self) -> float | None:
        """The longest of its times to recovery."""
        return max((figure.value for figure in self.figures if figure.recovery), default=None)

    @classmethod
    def read(cls, path: Path) -> Record:
        found = json.loads(path.read_text())
        found["figures"] = [Figure(**figure) for figure in found["figures"]]
        found["faults"] = [Fault(**fault) for fault in found["faults"]]
        return cls(**found)


def write_record(folder: Path, record: Record) -> None:
    """Keep a trial's record; a second one of the same test and seed replaces it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{record.test}-{record.seed}.json").write_text(json.dumps(asdict(record)))


@contextmanager
def kept(proof: Proof, folder: Path | None) -> Iterator[None]:
    """Keep, where there is a folder for it, whether the block came to its end; rounds are kept beside each other."""
    try:
        yield
        proof.seen = True
    finally:
        if folder is not None:
            (folder / GUARDS).mkdir(parents=True, exist_ok=True)
            path = folder / GUARDS / f"{proof.guard}-{proof.begun_at:.0f}.json"
            path.write_text(json.dumps(asdict(proof)))


def draw(record: Record, path: Path) -> None:
    """Tasks done over time, with the faults marked."""
    from matplotlib.figure import Figure as Plot  # noqa: PLC0415 -- the tests themselves do without it

    plot = Plot(figsize=(9, 3), layout="constrained")
    axes = plot.subplots()
    for fault in record.faults:
        begun, over = fault.begun_at - record.begun_at, fault.over_at - record.begun_at
        axes.axvspan(begun, max(over, begun + 0.15), color="#d9480f", alpha=0.35, linewidth=0)
    seconds = [at - record.begun_at for at in record.ended_at]
    axes.step(seconds, range(1, len(seconds) + 1), where="post", color="#1864ab", linewidth=1.5)
    axes.set(xlabel="seconds", ylabel="tasks ended", title=f"{record.title} (seed {record.seed})")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    plot.savefig(path, metadata={"Date": None})


def render(records: Sequence[Record], proofs: Sequence[Proof], command: str) -> str:
    """The page, in Markdown."""
    parts = [
        _summary(records, proofs, command),
        ["## Trials", "", ORACLE, "", *_trials(records)],
        ["## Figures", "", *_figures(records)],
        ["## Guards: with one taken out, the oracle must fail by this line", "", *_guards(proofs)],
        ["## Tasks ended over time", "", "Faults are marked in orange."],
        [f"![{record.title}]({_picture(record)})\n" for record in records if record.ended_at],
    ]
    return "\n".join(line for part in parts for line in [*part, ""])


def _summary(records: Sequence[Record], proofs: Sequence[Proof], command: str) -> list[str]:
    days = time.strftime("%Y-%m-%d", time.gmtime(min(record.begun_at for record in records)))
    totals = [f"{name}: {sum(record.summary.get(name, 0) for record in records)}" for name in TOTALS]
    return [
        "# Soak report",
        "",
        f"Made by `{command}` of commit {_commit()} on {days}, {os.cpu_count()} cores, Python {platform.python_version()}.",
        "",
        f"- Trials passed: {sum(record.good for record in records)} of {len(records)}",
        f"- Guards whose absence the oracle saw: {sum(proof.seen for proof in proofs)} of {len(proofs)}",
        f"- Tasks {', '.join(totals).replace('_', ' ')}",
        f"- Seeds: {', '.join(str(record.seed) for record in records)}",
    ]


def _trials(records: Sequence[Record]) -> list[str]:
    rows = [
        [
            record.title,
            record.seed,
            *(record.summary.get(name, 0) for name in COUNTS),
            record.submit_errors,
            len(record.faults),
            _number(record.recovery),
            _passed(record.good),
        ]
        for record in records
    ]
    counts = [f"{head}:" for head in COUNTS.values()]
    return _table(["test", "seed:", *counts, "submits refused:", "faults:", "recovery (s):", "passed"], rows)


def _figures(records: Sequence[Record]) -> list[str]:
    rows = [
        [record.title, record.seed, figure.what, _number(figure.value), _bound(figure.at_most)]
        for record in records
        for figure in record.figures
    ]
    return _table(["test", "seed:", "what", "measured:", "at most:"], rows)


def _guards(proofs: Sequence[Proof]) -> list[str]:
    rows = [[proof.guard, proof.scene.replace("_", " "), f"`{proof.line}`", _passed(proof.seen)] for proof in proofs]
    return _table(["guard", "in the scene", "the oracle's line", "seen"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A head that ends with a colon has its column to the right."""
    marks = ["---:" if head.endswith(":") else "---" for head in heads]
    names = [head.removesuffix(":") for head in heads]
    return [f"| {' | '.join(map(str, line))} |" for line in (names, marks, *rows)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _bound(value: float) -> str:
    return _number(None if value == math.inf else value)


def _passed(good: bool) -> str:
    return "yes" if good else "**no**"


def _commit() -> str:
    """Of the tests that ran, which is that of the working folder."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def _picture(record: Record) -> str:
    return f"{record.test}-{record.seed}.svg"


def main() -> None:
    (records_folder, output), command = map(Path, sys.argv[1:3]), sys.argv[3]
    records = sorted(map(Record.read, records_folder.glob("*.json")), key=lambda record: record.begun_at)
    proofs = sorted(map(Proof.read, (records_folder / GUARDS).glob("*.json")), key=lambda proof: proof.begun_at)
    if not records:
        sys.exit(f"{records_folder} holds no record of a trial: run the fault tests with SOAK_REPORT={records_folder}")
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("*.svg"):
        old.unlink()
    for record in records:
        if record.ended_at:
            draw(record, output / _picture(record))
    (output / "README.md").write_text(render(records, proofs, command))


if __name__ == "__main__":
    main()
