"""How fast queues submit and drain no-op tasks, side by side: `python benchmarks/drain.py --help`.

Each queue gets two worker processes with eight threads and keeps its results; YADTQ runs with its
shipped defaults (signing, retries, live updates, rollups). Drain is timed from the first to the last result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from yadtq import TaskClient, create_yadtq
from yadtq.core.yadtq_views import Views
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

HERE = Path(__file__).parent
PROCESSES = 2
THREADS = 8


@dataclass(frozen=True)
class Figures:
    """One queue's result; rates in tasks a second."""

    queue: str
    tasks: int
    submit_rate: float
    drain_rate: float


def measure(
    queue: str,
    tasks: int,
    submit: Callable[[], None],
    workers: Callable[[], list[subprocess.Popen[bytes]]],
    done: Callable[[], int],
) -> Figures:
    """Submit all, then start the workers and time from the first result seen to the last."""
    begun = time.monotonic()
    submit()
    submit_rate = tasks / (time.monotonic() - begun)
    running = workers()
    try:
        first_at, first = 0.0, 0
        limit = time.monotonic() + 300
        while (count := done()) < tasks:
            if count and not first:
                first_at, first = time.monotonic(), count
            if time.monotonic() > limit:
                raise SystemExit(f"{queue}: only {count} of {tasks} tasks ended within 300 s")
            time.sleep(0.02)
        return Figures(queue, tasks, submit_rate, (tasks - first) / max(time.monotonic() - first_at, 1e-9))
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def start(command: list[str], env: dict[str, str]) -> list[subprocess.Popen[bytes]]:
    """The worker processes of one queue."""
    path = Path(tempfile.gettempdir()) / f"bench-{Path(command[1]).name}.log"
    log = path.open("wb")
    return [
        subprocess.Popen(command, cwd=HERE, env={**os.environ, **env}, stdout=log, stderr=log) for _ in range(PROCESSES)
    ]


def run_yadtq(kafka: EmbeddedKafka, redis: EmbeddedRedis, tasks: int) -> Figures:
    env = {
        "YADTQ_KAFKA_SERVERS": ",".join(kafka.bootstrap_servers),
        "YADTQ_REDIS_URL": redis.url,
        "YADTQ_SIGNING_KEYS": "bench:not-a-secret-but-long-enough",
    }
    os.environ.update(env)
    broker, store = create_yadtq()
    views = Views(store)
    command = [sys.executable, "-m", "yadtq.cli", "worker", "yadtq_tasks", "-c", str(THREADS)]
    with TaskClient(broker, store) as client:
        return measure(
            "yadtq",
            tasks,
            lambda: client.submit_many(("noop", ()) for _ in range(tasks)) and None,
            lambda: start(command, env),
            lambda: views.totals().get("success", 0),
        )


def run_huey(redis: EmbeddedRedis, tasks: int) -> Figures:
    env = {"BENCH_REDIS_URL": redis.url.replace("/0", "/1")}
    os.environ.update(env)
    sys.path.insert(0, str(HERE))
    from huey_tasks import huey, noop  # noqa: PLC0415 -- needs the environment above, and huey only where it is compared

    def submit() -> None:
        for _ in range(tasks):
            noop()

    consumer = str(Path(sys.executable).with_name("huey_consumer"))
    command = [sys.executable, consumer, "huey_tasks.huey", "-w", str(THREADS), "-k", "thread"]
    return measure("huey", tasks, submit, lambda: start(command, env), huey.storage.result_store_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000, help="tasks for YADTQ")
    parser.add_argument("--peer-tasks", type=int, default=20_000, help="tasks for the other queues; 0 leaves them out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kafka, redis = EmbeddedKafka(Path(folder) / "kafka", ports=[0]), EmbeddedRedis(Path(folder) / "redis", port=0)
        with kafka, redis:
            figures = [run_yadtq(kafka, redis, options.tasks)]
            if options.peer_tasks:
                figures.append(run_huey(redis, options.peer_tasks))
    for found in figures:
        if options.json:
            print(json.dumps(asdict(found)))
        else:
            print(
                f"{found.queue:8} {found.tasks:>8,} tasks   submit {found.submit_rate:>8,.0f}/s   drain {found.drain_rate:>8,.0f}/s"
            )
    if len(figures) > 1:
        print(f"drain: {figures[0].drain_rate / figures[1].drain_rate:.1f} times {figures[1].queue}")


if __name__ == "__main__":
    main()
