"""A client in a process of its own: makes calls that it reads from its standard input, one JSON list a line, and answers each.

Run as ``python -m tests.faults.client_main ORDERS``, where ORDERS is JSON: settings, and the guards to take out.
"""

from __future__ import annotations

import json
import sys

from tests.faults.guards import take_out
from yadtq import TaskClient, create_yadtq


def main() -> None:
    orders = json.loads(sys.argv[1])
    for guard in orders["without"]:
        take_out(guard)
    with TaskClient(*create_yadtq(**orders["settings"])) as client:
        for line in sys.stdin:
            method, *args = json.loads(line)
            sys.stdout.write(json.dumps(getattr(client, method)(*args)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
