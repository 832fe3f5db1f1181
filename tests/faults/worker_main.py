"""A worker process of the fault tests: its tasks write down that they begin and end, whatever happens to Redis.

Run as ``python -m tests.faults.worker_main ORDERS``, where ORDERS is a JSON file: settings, folder, name, options of
TaskWorker, and the guards to take out (see ``guards.py``).
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.faults.children import end_with_the_test
from tests.faults.guards import take_out
from yadtq import TaskWorker, create_yadtq, task
from yadtq.commands.logs import log_to_stderr
from yadtq.core.yadtq_execution import TaskContext


class Injected(Exception):
    """Raised by a task on purpose."""


class RunLog:
    """An append-only file of one process: a line is in the kernel's hands before the task goes on."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"runs-{os.getpid()}.log"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, word: str, ctx: TaskContext) -> None:
        token = ctx._run.token  # type: ignore[attr-defined]  # tasks know only the fence
        line = f"{word} {ctx.task_id} {ctx.attempt} {ctx.fence} {token} {os.getpid()} {time.time():.6f}\n"
        os.write(self._file, line.encode())


def build_tasks(log: RunLog) -> dict[str, Any]:
    """The tasks; a result carries the run's fence, so that two accepted outcomes can be told apart."""

    def begin_and_end(ctx: TaskContext, number: int, seconds: float) -> list[int]:
        log.write("begin", ctx)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            threading.Event().wait(min(left, 0.05))
        log.write("end", ctx)
        return [number * number, ctx.fence]

    def square(number: int, seconds: float, *, ctx: TaskContext) -> list[int]:
        return begin_and_end(ctx, number, seconds)

    @task(retries=3)
    def flaky(number: int, ballast: str = "", *, ctx: TaskContext) -> list[int]:
        if ctx.attempt == 1:
            log.write("begin", ctx)
            log.write("end", ctx)
            raise Injected("the first attempt fails")
        return begin_and_end(ctx, number, 0.0)

    def poison(kind: str, *, ctx: TaskContext) -> None:
        log.write("begin", ctx)
        if kind == "exit":
            os._exit(9)
        if kind == "segfault":
            ctypes.string_at(0)
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does to one that eats the memory

    def stubborn(number: int, seconds: float, *, ctx: TaskContext) -> list[int]:
        """Sleeps in one call that no exception reaches."""
        log.write("begin", ctx)
        time.sleep(seconds)
        log.write("end", ctx)
        return [number * number, ctx.fence]

    return {"square": square, "flaky": flaky, "poison": poison, "stubborn": stubborn}


def start_logs(kafka: Path) -> None:
    """As `yadtq worker` has it, and what kafka-python tells in a file of its own: it logs tracebacks of every cut link."""
    log_to_stderr("INFO")
    logger = logging.getLogger("kafka")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.FileHandler(kafka))


def main() -> None:
    orders = json.loads(Path(sys.argv[1]).read_text())
    threading.Thread(target=end_with_the_test, daemon=True).start()
    start_logs(Path(orders["folder"]) / f"{orders['name']}-kafka.txt")
    for guard in orders["without"]:
        take_out(guard)
    broker, store = create_yadtq(**orders["settings"])
    tasks = build_tasks(RunLog(Path(orders["folder"])))
    TaskWorker(broker, store, tasks, name=orders["name"], **orders["options"]).run()


if __name__ == "__main__":
    main()
