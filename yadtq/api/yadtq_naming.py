"""The name of a worker that is given none."""

from __future__ import annotations

import os
import socket
import threading

_count_lock = threading.Lock()
_counts: dict[str, int] = {}


def default_name() -> str:
    """HOST-PID, with what a name may not hold replaced; several workers of one process count up."""
    host = (
        "".join(c if (c.isalnum() and c.isascii()) or c in "_.-" else "-" for c in socket.gethostname())[:90] or "host"
    )
    with _count_lock:
        number = _counts["workers"] = _counts.get("workers", 0) + 1
    return f"{host}-{os.getpid()}" + (f"-{number}" if number > 1 else "")
