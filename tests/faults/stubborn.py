"""A worker process, in either pool, whose one task heeds nothing: it sleeps in one call that no exception reaches.

Run as ``python -m tests.faults.stubborn ORDERS``, where ORDERS is a JSON file: settings, folder, name and pool.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from tests.faults.children import end_with_the_test
from yadtq import TaskWorker, create_yadtq
from yadtq.commands.logs import log_to_stderr
from yadtq.core.yadtq_execution import TaskContext


def stubborn(number: int, seconds: float, folder: str, *, ctx: TaskContext) -> list[int]:
    """Writes down its run as the tasks of ``worker_main`` do; a child process knows no token, so the fence stands in."""
    log = Path(folder) / f"runs-{os.getpid()}.log"

    def write(word: str) -> None:
        run = f"{ctx.task_id} {ctx.attempt} {ctx.fence} {ctx.fence}: {os.getpid()} {time.time():.6f}"
        with log.open("a") as file:
            file.write(f"{word} {run}\n")

    write("begin")
    time.sleep(seconds)
    write("end")
    return [number * number, ctx.fence]


def main() -> None:
    orders = json.loads(Path(sys.argv[1]).read_text())
    threading.Thread(target=end_with_the_test, daemon=True).start()
    log_to_stderr("INFO")
    broker, store = create_yadtq(**orders["settings"])
    TaskWorker(broker, store, {"stubborn": stubborn}, concurrency=2, name=orders["name"], pool=orders["pool"]).run()


if __name__ == "__main__":
    main()
