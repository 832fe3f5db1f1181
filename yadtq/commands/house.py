"""All that ``yadtq up`` runs, started and stopped in order and kept alive between."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yadtq import create_yadtq
from yadtq.commands.children import TICK, Child, command_line, stop_all
from yadtq.commands.folder import DataFolder
from yadtq.commands.servers import Servers
from yadtq.commands.worker import STOP_MARGIN
from yadtq.config import load_settings
from yadtq.core.yadtq_accounts import Accounts
from yadtq.core.yadtq_views import Views
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis
from yadtq.embedded.folder import port_is_free
from yadtq.embedded.kafka import DEFAULT_PORT as KAFKA_PORT
from yadtq.embedded.redis import DEFAULT_PORT as REDIS_PORT
from yadtq.errors import EmbeddedError

WEB_HOST = "127.0.0.1"
LINK_SECONDS = 600
_WEB_SECONDS, _WORKER_SECONDS = 30.0, 15.0  # how long each may take to show itself
_WEB_STOP_SECONDS = 15.0
_LOG_LIMIT = 5_000_000  # bytes; a longer log is put aside at the next start

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What the command line asked for."""

    servers: Servers  # those given are used as they are, the others are started here
    web_port: int
    workers: int
    tasks: str  # the module whose functions the workers run
    verbose: bool  # whether logs go to the terminal instead of to files


class House:
    """One run of ``yadtq up``; everything happens in the main thread."""

    def __init__(self, plan: Plan, folder: DataFolder, say: Say) -> None:
        self.url = f"http://{WEB_HOST}:{plan.web_port}"
        self.variables: dict[str, str] = {}  # what clients and workers need, here and in other shells
        self._plan = plan
        self._folder = folder
        self._say = say
        self._redis = None if plan.servers.redis else EmbeddedRedis(folder.path / "redis")
        self._kafka = None if plan.servers.kafka else EmbeddedKafka(folder.path / "kafka", on_progress=say)
        self._web: list[Child] = []
        self._workers: list[Child] = []

    @property
    def kafka_servers(self) -> str:
        """Kafka's addresses, ours or the given ones."""
        return ",".join(self._kafka.bootstrap_servers) if self._kafka else str(self._plan.servers.kafka)

    @property
    def redis_url(self) -> str:
        """Redis' address, ours or the given one."""
        return self._redis.url if self._redis else str(self._plan.servers.redis)

    def start(self) -> None:
        """Start everything; return when the dashboard answers and the workers have shown themselves."""
        if redis := self._redis:
            self._open("Redis", REDIS_PORT, redis.start, lambda: redis.port)
        if kafka := self._kafka:
            self._open("Kafka", KAFKA_PORT, kafka.start, lambda: kafka.nodes[0].port)
        self._say("starting the dashboard and the workers")
        self._hire()
        for child in (*self._web, *self._workers):
            child.start()
        self._wait_for_web()
        self._wait_for_workers()
        self._folder.note_url(self.url)

    def keep(self) -> None:
        """Start again whatever dies, until a signal interrupts."""
        while True:
            time.sleep(TICK)
            if self._redis and self._redis.pid is None:
                self._say("Redis has died and is started again")
                self._redis.start()
            if self._kafka and None in [node.pid for node in self._kafka.nodes]:
                self._say("Kafka has died and is started again")
                self._kafka.start()
            for child in (*self._web, *self._workers):
                child.tend()

    def stop(self) -> None:
        """Stop each before what it needs: a stopping worker still writes to Kafka and Redis."""
        if self._workers:
            self._say("stopping the workers")
            stop_all(self._workers, load_settings().grace + STOP_MARGIN)
        if self._web:
            self._say("stopping the dashboard")
            stop_all(self._web, _WEB_STOP_SECONDS)
        if self._kafka and self._kafka.nodes:
            self._say("stopping Kafka")
            self._kafka.stop()
        if self._redis and self._redis.pid:
            self._say("stopping Redis")
            self._redis.stop()

    def sign_in_link(self) -> str:
        """A link that signs one person in as admin, once, within LINK_SECONDS."""
        token = Accounts(self._store()).create_login_link("admin", "admin", ttl=LINK_SECONDS)
        return f"{self.url}/login?token={token}"

    def workers_online(self) -> int:
        """How many of our own workers have a beat in Redis."""
        online = {worker.pid for worker in Views(self._store()).workers() if worker.online}
        return len(online & {child.pid for child in self._workers})

    def _open(self, name: str, usual: int, start: Callable[[], object], port: Callable[[], int]) -> None:
        """Start a server of ours; say where it is when that is not the usual place."""
        was_free = port_is_free(usual)
        self._say(f"starting {name}")
        start()
        if port() != usual:
            why = "is kept for it from an earlier run" if was_free else f"is used instead: {usual} is taken"
            self._say(f"{name}: port {port()} {why}")

    def _hire(self) -> None:
        """Now that every address is known, settle what the children are told, and make them."""
        own = self._folder.secrets()
        # A Kafka that others use too has their signing key; one of our own has ours, whatever the shell says.
        shared = os.environ.get("YADTQ_SIGNING_KEYS") if self._plan.servers.kafka else None
        self.variables = {
            "YADTQ_KAFKA_SERVERS": self.kafka_servers,
            "YADTQ_REDIS_URL": self.redis_url,
            "YADTQ_WEB_URL": self.url,
            "YADTQ_API_TOKEN": own["api_token"],
            "YADTQ_SIGNING_KEYS": shared or own["signing_keys"],
        }
        web = command_line("web", "--host", WEB_HOST, "--port", self.url.rpartition(":")[2])
        self._web = [self._child("dashboard", web, YADTQ_SECRET_KEY=own["secret_key"])]
        work = command_line("worker", self._plan.tasks)
        self._workers = [self._child(f"worker-{n}", work, may_end=True) for n in range(1, self._plan.workers + 1)]

    def _child(self, name: str, command: list[str], *, may_end: bool = False, **more: str) -> Child:
        log = None if self._plan.verbose else _roomy(self._folder.path / "logs" / f"{name}.log")
        return Child(name, command, {**self.variables, **more}, self._say, log, may_end=may_end)

    def _wait_for_web(self) -> None:
        (web,) = self._web
        deadline = time.monotonic() + _WEB_SECONDS
        while not _answers(f"{self.url}/healthz"):
            web.tend()
            if web.exit_code is not None or time.monotonic() > deadline:
                raise EmbeddedError(f"the dashboard did not start{web.last_words()}")
            time.sleep(TICK / 4)

    def _wait_for_workers(self) -> None:
        """Wait for their first beats, but not for ever: why a worker has none is told by ``tend``."""
        deadline = time.monotonic() + _WORKER_SECONDS
        while self.workers_online() < self._plan.workers and time.monotonic() < deadline:
            for worker in self._workers:
                worker.tend()
            if any(worker.exit_code is not None for worker in self._workers):
                return
            time.sleep(TICK / 2)

    def _store(self) -> Any:
        return create_yadtq(
            kafka_servers=self.kafka_servers,
            redis_url=self.redis_url,
            signing_keys=self.variables["YADTQ_SIGNING_KEYS"],
        )[1]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - an address of our own making
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _roomy(log: Path) -> Path:
    """The log, put aside where it has grown long."""
    log.parent.mkdir(exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    return log
