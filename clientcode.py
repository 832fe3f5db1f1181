"""The example client: submits five tasks and logs each one's status until all have ended.

Start it with ``python clientcode.py [SECONDS]``; after so many seconds (60) it gives up.
"""

import logging
import sys
import time

from yadtq import ResultTimeout, ServerError, TaskClient, YadtqError, create_yadtq

TASKS = [("add", 2, 3), ("multiply", 4, 5), ("sub", 10, 4), ("divide", 9, 3), ("divide", 1, 0)]
log = logging.getLogger("clientcode")


def insist(deadline, call, *args, pause=0.5):
    """Call until the servers answer, with growing pauses; close to the deadline their error is raised."""
    try:
        return call(*args)
    except ServerError as error:
        if time.monotonic() + pause > deadline:
            raise
        log.warning("%s; trying again in %.1f s", error, pause)
        time.sleep(pause)
        return insist(deadline, call, *args, pause=min(pause * 2, 8))


def run(client, deadline):
    """Submit the tasks and follow them to their ends."""
    waiting = {}
    for name, *args in TASKS:
        task_id = insist(deadline, client.submit, name, *args)
        waiting[task_id] = "queued"
        log.info("%s %s%s is queued", task_id, name, tuple(args))
    while waiting:
        if time.monotonic() > deadline:
            raise ResultTimeout(f"{len(waiting)} tasks have not ended; start a worker: python workercode.py")
        time.sleep(0.05)
        for task_id, before in list(waiting.items()):
            task = insist(deadline, client.get_result, task_id)
            if task.status != before:
                end = task.result if task.ok else task.error or ""
                log.info("%s %s is %s %s", task_id, task.name, task.status, end)
            waiting[task_id] = task.status
            if task.done:
                del waiting[task_id]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s")
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # YADTQ tells what matters of it
    try:
        with TaskClient(*create_yadtq()) as task_client:
            run(task_client, time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 60))
    except YadtqError as problem:
        sys.exit(f"giving up: {problem}")
    except KeyboardInterrupt:
        sys.exit("interrupted; what was submitted goes on")
