"""Turns into a server that dies with its owner: `python shim.py OWNER_PID prctl|watch COMMAND ...`.

It runs by its path in a bare interpreter, and so imports nothing of this package.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 0.25


def let_the_kernel_kill_us(owner: int) -> None:
    """Linux: ask for SIGKILL at the owner's death; exec keeps the wish."""
    if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit("prctl refused the parent-death signal")
    if os.getppid() != owner:  # it died before we asked, and no signal will come
        sys.exit("the owner is gone")


def leave_a_watcher(owner: int) -> None:
    """Elsewhere: a fork of ours looks after the owner; we go on and keep the pid that the owner knows."""
    server = os.getpid()
    if os.fork():
        return
    while os.getppid() == server:
        if not _is_alive(owner):
            os.kill(server, signal.SIGKILL)
        time.sleep(WATCH_SECONDS)
    os._exit(0)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    owner, way, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if way == "prctl":
        let_the_kernel_kill_us(owner)
    else:
        leave_a_watcher(owner)
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.exit(f"{command[0]} cannot be run: {error}")


if __name__ == "__main__":
    main()
