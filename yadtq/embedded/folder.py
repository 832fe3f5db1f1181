"""A server's data folder: held by one process at a time, and the memory of the ports that it used."""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yadtq.errors import EmbeddedError

LOOPBACK = "127.0.0.1"
DYING_SECONDS = 10.0
# Below the range from which systems take ports for outgoing connections: none of those can grab the port
# of a server that is down for a moment.
FREE_PORTS = range(20_000, 32_000)


class FolderLock:
    """An flock on ``.lock``: the system drops it when its last holder dies, so it is never stale."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd: int | None = None

    def acquire(self) -> int:
        """Hold the folder and return the descriptor, which its servers share until they too are gone."""
        self._folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._wait_for(fd)
        except BaseException:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd
        return fd

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None

    def _wait_for(self, fd: int) -> None:
        # The servers of an owner that was killed are dying too: give them a moment before saying no.
        deadline = time.monotonic() + DYING_SECONDS
        while True:
            try:
                return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 20, 0).decode()
                if _is_alive(holder) or time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"{self._folder} is in use by process {holder or 'unknown'}: stop that one first, "
                        "or choose another folder."
                    ) from None
            time.sleep(0.05)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # it lives and is someone else's
        return True
    return True


def port_is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose_port(wishes: Iterable[int], taken: set[int]) -> int:
    """The first wish that is free, else any free port; it is added to ``taken``."""
    for port in (*wishes, *random.sample(FREE_PORTS, 200)):
        if port and port not in taken and port_is_free(port):
            taken.add(port)
            return port
    raise EmbeddedError("No free port was found on this machine: close some of its servers.")


def wishes_for(asked: int | None, remembered: int, default: int) -> tuple[int, ...]:
    """An asked port comes first; otherwise the last run's, then the usual one, unless 0 asked for any."""
    if asked:
        return (asked,)
    return (remembered, 0 if asked == 0 else default)


def read_memory(path: Path) -> dict[str, Any]:
    """What the last run wrote down; nothing if it is missing or damaged, for it can be made anew."""
    try:
        memory = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}


def write_memory(path: Path, memory: dict[str, Any]) -> None:
    """Write it whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(memory, indent=1) + "\n")
    new.replace(path)
