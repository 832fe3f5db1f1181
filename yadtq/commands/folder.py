"""The data folder of ``yadtq up``: one run at a time, its secrets, and the file other shells source."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from yadtq.errors import EmbeddedError


class DataFolder:
    """What one ``yadtq up`` keeps between runs; its secrets are readable by their owner only."""

    def __init__(self, path: Path, lock: TextIO) -> None:
        self.path = path
        self.env_file = path / "env"
        self._lock = lock
        self.note_url("")

    def note_url(self, url: str) -> None:
        """Tell whoever tries to start a second run where the dashboard of this one is."""
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()} {url}")
        self._lock.flush()

    def secrets(self) -> dict[str, str]:
        """The signing key, the web's secret key and the API token, as settings: made once, then kept."""
        path = self.path / "secrets.json"
        if not path.exists():
            made = {name: secrets.token_urlsafe(32) for name in ("secret_key", "api_token")}
            made["signing_keys"] = f"up:{secrets.token_urlsafe(32)}"
            write_private(path, json.dumps(made))
        try:
            kept: dict[str, str] = json.loads(path.read_text())
            return {name: kept[name] for name in ("signing_keys", "secret_key", "api_token")}
        except (ValueError, KeyError, TypeError) as error:
            # New keys without a word would turn every task still queued into one that cannot be trusted.
            raise EmbeddedError(f"{path} is damaged: restore it, or delete {self.path} to begin anew") from error

    def write_env(self, variables: Mapping[str, str]) -> None:
        """Write the variables so that ``set -a; . DIR/env; set +a`` takes them into a shell."""
        write_private(self.env_file, "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items()))


@contextmanager
def open_folder(path: Path) -> Iterator[DataFolder]:
    """Hold the folder for one run.

    Raises:
        EmbeddedError: another run holds it, or it cannot be written.
    """
    path = path.absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (path / "lock").open("a+")
    except OSError as error:
        raise EmbeddedError(
            f"the data folder {path} cannot be used: {error.strerror}; choose another with --data"
        ) from error
    with lock:
        try:
            # The system lets go of it when we die, however that happens: there is no stale lock to clean up.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise EmbeddedError(_held(path, lock.read())) from None
        yield DataFolder(path, lock)


def _held(path: Path, note: str) -> str:
    pid, _, url = note.partition(" ")
    where = f"its dashboard is {url}" if url else "it is still starting"
    return (
        f"yadtq up already runs on {path} (pid {pid or 'unknown'}): {where}; "
        "stop it first, or choose another folder with --data"
    )


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step; never readable by others, not even for a moment."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
