"""The example worker: three worker threads that share one connection to Kafka and Redis.

Start it with ``python workercode.py``; ``yadtq worker workercode -p 2`` runs the same tasks in processes.
"""

import logging
import signal
import sys
import threading

from yadtq import DoNotRetry, TaskWorker, YadtqError, create_yadtq


def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


def sub(a: float, b: float) -> float:
    """Subtract b from a."""
    return a - b


def divide(a: float, b: float) -> float:
    """Divide a by b."""
    if b == 0:
        raise DoNotRetry("division by zero")  # another attempt would end the same way
    return a / b


# A task of your own: write its function above and add it here, such as "resize": resize.
# Clients then call client.submit("resize", ...). Arguments and results are JSON.
task_handlers = {"add": add, "multiply": multiply, "sub": sub, "divide": divide}


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    broker, result_store = create_yadtq()
    workers = [TaskWorker(broker, result_store, task_handlers=task_handlers).start() for _ in range(3)]
    stop.wait()
    for worker in workers:  # all at once, then each to its end
        worker.stop(wait=False)
    for worker in workers:
        worker.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # YADTQ tells what matters of it
    try:
        main()
    except YadtqError as problem:  # a setting is wrong
        sys.exit(str(problem))
