"""The report of a soak: a record of each trial while the tests run, and a page with plots made of them afterwards.

``python -m tests.faults.report RECORDS OUTPUT`` makes the page; the plots need matplotlib, the extra ``soak``.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.nemesis import Fault
from tests.faults.oracle import Verdict


@dataclass
class Figure:
    """What was measured, and what it must not be higher than."""

    what: str
    value: float
    at_most: float


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


def render(records: Sequence[Record], command: str) -> str:
    """The page, in Markdown."""
    days = time.strftime("%Y-%m-%d", time.gmtime(min(record.begun_at for record in records)))
    lines = [
        "# Soak report",
        "",
        f"Made by `{command}` of commit {_commit()} on {days}, {os.cpu_count()} cores, Python {platform.python_version()}. "
        "Every line of the oracle must be 0: tasks lost, runs of tasks never submitted, ids with two different accepted "
        "outcomes, wrong results, fences out of order, offsets committed too early, tasks left running, tracebacks. "
        "Re-executions are runs beyond the first of an attempt: the price of a worker's death. Excused are tasks that only "
        "Redis held when it lost its last seconds or everything, as `docs/guarantees.md` says.",
        "",
        f"| test | seed | accepted | ended | excused | {' | '.join(Verdict.LINES).replace('_', ' ')} | re-executed | submits refused | faults | passed |",
        f"|---|{'---:|' * (len(Verdict.LINES) + 7)}---|",
    ]
    for record in records:
        counts = [
            record.summary.get(name, 0) for name in ("accepted", "ended", "excused", *Verdict.LINES, "re_executed")
        ]
        shown = [
            record.title,
            record.seed,
            *counts,
            record.submit_errors,
            len(record.faults),
            "yes" if record.good else "**no**",
        ]
        lines.append(f"| {' | '.join(map(str, shown))} |")
    lines += ["", "## Figures", "", "| test | seed | what | measured | at most |", "|---|---:|---|---:|---:|"]
    for record in records:
        lines += [
            f"| {record.title} | {record.seed} | {f.what} | {f.value:.4g} | {f.at_most:.4g} |" for f in record.figures
        ]
    lines += ["", "## Tasks ended over time", "", "Faults are marked in orange.", ""]
    lines += [f"![{record.title}]({_picture(record)})\n" for record in records if record.ended_at]
    return "\n".join(lines)


def _commit() -> str:
    """Of the tests that ran, which is that of the working folder."""
    asked = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    return asked.stdout.strip()


def _picture(record: Record) -> str:
    return f"{record.test}-{record.seed}.svg"


def main() -> None:
    records_folder, output = map(Path, sys.argv[1:3])
    records = sorted(map(Record.read, records_folder.glob("*.json")), key=lambda record: record.begun_at)
    if not records:
        sys.exit(f"{records_folder} holds no record of a trial: run the fault tests with SOAK_REPORT={records_folder}")
    output.mkdir(parents=True, exist_ok=True)
    for record in records:
        if record.ended_at:
            draw(record, output / _picture(record))
    (output / "README.md").write_text(render(records, "make soak"))


if __name__ == "__main__":
    main()
