"""A producer process of the fault tests: submits each number under a key of its own and writes down the id it was given.

Run as ``python -m tests.faults.producer_main ORDERS``, where ORDERS is a JSON file: settings, folder, numbers, and how
many threads submit them. A line ``NUMBER ID`` is in the kernel's hands as soon as ``submit`` has returned; a line
``ready`` before the first one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.faults.children import end_with_the_test
from tests.faults.producer import SHORT
from yadtq import TaskClient, create_yadtq


def key_of(number: int) -> str:
    """The idempotency key of a number."""
    return f"number-{number}"


def read_ids(folder: Path) -> dict[int, set[str]]:
    """Every id that any producer was given, by number."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in folder.glob("ids-*.log"):
        for line in path.read_text().splitlines():
            if line != "ready":
                number, task_id = line.split()
                found[int(number)].add(task_id)
    return found


def log_of(folder: Path, pid: int) -> Path:
    """Where the producer with this pid writes."""
    return folder / f"ids-{pid}.log"


def main() -> None:
    orders = json.loads(Path(sys.argv[1]).read_text())
    log = os.open(log_of(Path(orders["folder"]), os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    client = TaskClient(*create_yadtq(**orders["settings"]))
    threading.Thread(target=end_with_the_test, daemon=True).start()

    def submit(number: int) -> None:
        task_id = client.options(key=key_of(number)).submit("square", number, SHORT)
        os.write(log, f"{number} {task_id}\n".encode())

    os.write(log, b"ready\n")
    with ThreadPoolExecutor(orders["threads"]) as pool:
        list(pool.map(submit, orders["numbers"]))
    threading.Event().wait()  # for the kill: what was submitted may be on its way to Kafka, or there already


if __name__ == "__main__":
    main()
