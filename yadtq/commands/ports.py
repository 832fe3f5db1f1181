"""Whether a server could listen at an address, and why not."""

from __future__ import annotations

import errno
import os
import socket


def bind_error(host: str, port: int) -> str | None:
    """Why a server could not listen there now; ``None`` where it could."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {os.strerror(error.errno or 0)}"
    return None
