"""Whether a change made the engine slower: `python benchmarks/compare.py REVISION`.

Submits and drains no-op tasks by turns with the engine of a git revision and with the one of this folder, on servers of
their own each time, and gives the ratios of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parents[1]


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """The files of a revision, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "then"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", folder, revision], cwd=HERE, check=True)
        try:
            yield folder
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", folder], cwd=HERE, check=True)


def drain(folder: Path, tasks: int) -> dict[str, float]:
    """The figures of one run, with the engine and the benchmark of that folder and the libraries of this one."""
    command = [sys.executable, folder / "benchmarks" / "drain.py", f"--tasks={tasks}", "--peer-tasks=0", "--json"]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    told = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
    figures = json.loads(told)
    return {"submit": figures["submit_rate"], "drain": figures["drain_rate"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision")
    parser.add_argument("--tasks", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    then, now = [], []
    with checked_out(options.revision) as folder:
        for _ in range(options.rounds):
            then.append(drain(folder, options.tasks))
            now.append(drain(HERE, options.tasks))
            print(f"{options.revision}: {shown(then[-1])}   now: {shown(now[-1])}", flush=True)
    for what in ("submit", "drain"):
        ratio = median(now, what) / median(then, what)
        print(f"{what}: {median(then, what):,.0f}/s then, {median(now, what):,.0f}/s now, {ratio:.0%}")


def median(runs: list[dict[str, float]], what: str) -> float:
    return statistics.median(run[what] for run in runs)


def shown(run: dict[str, float]) -> str:
    return ", ".join(f"{what} {rate:,.0f}/s" for what, rate in run.items())


if __name__ == "__main__":
    main()
