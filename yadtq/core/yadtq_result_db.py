"""All that speaks Redis: the keys, the connection, and the moves of moves/; each move is a Lua script over a batch.

Keys, each after ``redis_prefix``. Scripts in lua/ spell the same names; a test holds the two together.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import DataError, NoScriptError, ReadOnlyError, RedisError, ResponseError
from redis.retry import Retry

from yadtq.config import Settings
from yadtq.core.moves.base import Reply, seconds_to_ms
from yadtq.core.moves.clients import UNSIGNED, ClientMoves, NewTask
from yadtq.core.moves.keeper import KeeperMoves
from yadtq.core.moves.workers import ClaimItem, WorkerMoves
from yadtq.core.yadtq_checks import OLDEST_REDIS
from yadtq.core.yadtq_tls import tls_context
from yadtq.core.yadtq_trouble import AWAY, REFUSED, redis_unavailable
from yadtq.errors import ResultStoreUnavailable

__all__ = ["KEYS", "ClaimItem", "NewTask", "NotOnDisk", "Reply", "ResultStore", "Unanswered", "seconds_to_ms"]

logger = logging.getLogger(__name__)

KEYS: dict[str, str] = {
    "t:": "hash   a task's row, by id",
    "envelope:": "string a task's sealed envelope, by id",
    "result:": "string a result over 64 bytes, JSON, by id",
    "history:": "list   attempts that did not succeed and what people did, JSON, newest 50, by id",
    "report:": "hash   what the present or last run of a task tells (token, now), and the one before it (before), JSON, by id",
    "key:": "string the id submitted with an idempotency key, by the key's hash; lives as the task does",
    "outbox": "zset   tasks Kafka has not acknowledged -> ms of the next publish check",
    "due": "zset   tasks -> ms when they are due or expire",
    "index:": "zset   tasks by the time they entered a status (µs), by status; index:all by submit time",
    "groups": "zset   fingerprints of failures -> µs of the newest one",
    "sizes": "zset   fingerprints of failures -> how many failed tasks have it × 2^33 + s of the newest one",
    "group:": "zset   the failed tasks of one fingerprint -> µs when they failed, by fingerprint",
    "run:": "set    the tasks an incarnation holds, by incarnation",
    "worker:": "hash   one incarnation: beat, series, about, state, suspect, by incarnation",
    "control:": "zset   what people ask of an incarnation -> µs when, for a minute or until it has obeyed, by incarnation",
    "workers": "zset   incarnations -> ms of the last beat",
    "dead": "zset   incarnations declared dead -> ms",
    "left": "zset   incarnations that took leave -> ms, newest 200",
    "nostart": "hash   hosts -> why and when (s) a worker there could not start, JSON; until two minutes after the last of them",
    "backlog": "hash   queued tasks, by queue",
    "busy": "hash   processing tasks, by queue",
    "totals": "hash   ended tasks since the start, by status; fenced, rebuilt, rejected",
    "open_minute": "string start (s) of the minute that is being counted",
    "minute:": "hash   success, failed, retried, fenced …, w<bucket> waiting and r<bucket> running times of a minute, by its start (s)",
    "quarter:": "hash   the same of a quarter of an hour, for 25 hours",
    "hour:": "hash   the same of an hour, for 8 days",
    "ever": "hash   the same since the start, without the open minute",
    "lag:": "string each partition's lag by topic, JSON, by the minute (s) it was looked at, for an hour",
    "seq": "string number of the last change",
    "upd": "zset   what changed (t:, w: and id) -> seq, newest 10,000",
    "signing": "string fingerprints of the signing keys the workers know; absent where they take unsigned tasks",
    "epoch": "string when this data set was born (ms) and the first 8 digits of its Redis' run id",
    "server": "string run id of the Redis that last answered from this data",
    "gaps": "zset   when submits may have been lost: from (ms) -> till (ms), at most 100",
    "audit": "string where the keeper's audit goes on",
    "done:": "channel told the status when a task ends, by id",
    "actions": "stream the audit log: who changed what through the web, newest 10,000",
    "job:": "string a bulk job, JSON, for a day, by id",
    "jobtasks:": "zset   the tasks that a bulk retry queued -> when (µs), the newest 2,000, for a day, by the job's id",
    "jobs": "zset   bulk jobs that are not finished -> s when they were started",
    "joblock:": "string held while a step of a bulk job is done, by id",
    "user:": "hash   a user of the web, by name",
    "users": "set    the names of all users",
    "session:": "hash   a signed-in session, by the hash of its secret",
    "sessions": "zset   hashes of the sessions' secrets -> ms when they expire",
    "login:": "hash   a one-time sign-in link, by the hash of its token",
    "throttle:": "string attempts in the present window, by what is throttled",
    "token:": "hash   an API token, by its hash",
    "tokens": "hash   names of API tokens -> their hashes",
    "web_secret": "string the web's cookie key where none is set",
}

CONNECT_TIMEOUT = 1.0  # seconds
READ_TIMEOUT = 2.0  # seconds
DISK_TIMEOUT = 1.5  # seconds; every second Redis writes to disk
PATIENCE = 5.0  # seconds a client's call may take in all
_FULL_PROOF = frozenset(
    {"pubd", "claim", "rebuild", "fin", "beat", "release", "reap", "due", "sweep", "audit", "requeue", "count"}
    | {"cancel", "delete", "oldest", "walk", "reject", "control"}
)

T = TypeVar("T")


class Unanswered(ResultStoreUnavailable):
    """The call was sent but not answered: it may or may not have been carried out."""


class NotOnDisk(ResultStoreUnavailable):
    """The call was carried out, and a crash of Redis may still undo it; ``reply`` is what it answered."""

    reply: Reply


class _Script:
    """One move's source and its SHA, which differ by what the server allows."""

    def __init__(self, name: str) -> None:
        folder = files("yadtq.core") / "lua"
        self.name = name
        self._source = (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()
        self.prepare(modern=False)

    def prepare(self, *, modern: bool) -> None:
        """Redis >= 7 lets a script say that it may run when memory is full."""
        flags = "#!lua flags=allow-oom\n" if modern and self.name in _FULL_PROOF else ""
        self.source = (flags + self._source).encode()
        self.sha = hashlib.sha1(self.source, usedforsecurity=False).hexdigest()


class ResultStore(ClientMoves, WorkerMoves, KeeperMoves):
    """Status, results and heartbeats in Redis. Lazy and thread-safe; connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.prefix = settings.redis_prefix
        self._pool = redis.ConnectionPool.from_url(
            settings.redis_location,
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=READ_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
            **_connection_options(settings),
        )
        self.client: Any = redis.Redis(  # redis-py types replies as unions that fit no single call
            connection_pool=self._pool
        )
        self._scripts: dict[str, _Script] = {}

    # -- calls -----------------------------------------------------------------------------------

    def key(self, name: str, part: str = "") -> str:
        """The full name of a key of :data:`KEYS`."""
        return f"{self.prefix}{name}{part}"

    def run(self, move: str, *args: Any) -> Reply:
        """Run one script once.

        Raises:
            Unanswered: it was sent, and no answer came.
            NotOnDisk: it was a submit, is to be durable, and was not on disk in time.
            ResultStoreUnavailable: Redis cannot be reached, is full, or refused.
        """
        script = self._script(move)
        with self._connection() as connection:
            try:
                raw = self._call(connection, "EVALSHA", script.sha, 1, self.prefix, *args)
            except NoScriptError:
                self._check_server(script)
                raw = self._call(connection, "EVAL", script.source, 1, self.prefix, *args)
            reply = Reply(raw[0].decode(), raw[1], raw[2:])
            if move == "enq" and self.settings.durable and reply.items != [UNSIGNED]:
                self._wait_for_disk(connection, reply)
        return reply

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """One connection for a call and what must follow it there."""
        try:
            connection = self._pool.get_connection()
        except (RedisError, OSError) as error:
            raise self.unavailable(error) from error
        try:
            yield connection
        finally:
            self._pool.release(connection)

    def _call(self, connection: Any, *command: Any) -> Any:
        """One command, so that "never sent" and "no answer" can be told apart."""
        try:
            connection.send_command(*command)
            return connection.read_response()
        except ResponseError as error:
            if isinstance(error, NoScriptError):
                raise
            if _is_demoted(error):
                connection.disconnect()
                self._connect_anew()
            raise self.unavailable(error) from error
        except (RedisError, OSError) as error:
            connection.disconnect()
            raise redis_unavailable(error, self.settings, Unanswered) from error
        except BaseException:  # a stop of the task that calls: the next user would read the answer to this command
            connection.disconnect()
            raise

    def _connect_anew(self) -> None:
        """The server has become a replica and keeps its connections: only new ones follow the address to the primary."""
        self._pool.disconnect(inuse_connections=False)

    def _wait_for_disk(self, connection: Any, reply: Reply) -> None:
        """Return when the append-only file holds on disk what was written over this connection (Redis >= 7.2).

        Over another one, Redis would answer for what that one wrote, or for a server that has started anew.
        """
        try:
            local, _replicas = self._call(connection, "WAITAOF", 1, 0, seconds_to_ms(DISK_TIMEOUT))
            if local:
                return
            what = f"has not written to disk within {DISK_TIMEOUT:g} s; see its disk and its setting appendfsync"
            trouble = NotOnDisk(f"Redis at {self.settings.redis_address} {what}", public=f"Redis {what}")
        except ResultStoreUnavailable as error:
            trouble = NotOnDisk(str(error), kind=error.kind, public=error.public)
        trouble.reply = reply
        raise trouble

    def guard(self, call: Callable[[], T]) -> T:
        """A plain redis-py call with our errors."""
        try:
            return call()
        except DataError:  # a value that Redis cannot take is our own fault, no outage
            raise
        except (RedisError, OSError) as error:
            if _is_demoted(error):
                self._connect_anew()
            raise self.unavailable(error) from error

    def patiently(self, call: Callable[[], T], patience: float = PATIENCE) -> T:
        """The call, repeated with growing pauses for up to ``patience`` seconds in all; it must be idempotent."""
        deadline, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                return call()
            except ResultStoreUnavailable as error:
                # A further try may take a whole read timeout; the caller was promised an answer in time.
                if time.monotonic() + pause + READ_TIMEOUT > deadline or error.kind != AWAY:
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _script(self, move: str) -> _Script:
        script = self._scripts.get(move)
        return script if script is not None else self._scripts.setdefault(move, _Script(move))

    def _check_server(self, script: _Script) -> None:
        """Redis does not know a script: a first use, or a new server; look which kind it is."""
        info = self.guard(lambda: self.client.info("server"))
        version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        if version < OLDEST_REDIS:
            what = f"is version {info['redis_version']}; YADTQ needs 6.2 or newer, please upgrade it"
            raise ResultStoreUnavailable(
                f"Redis at {self.settings.redis_address} {what}", kind=REFUSED, public=f"Redis {what}"
            )
        script.prepare(modern=version >= (7, 0))

    def unavailable(self, error: BaseException) -> ResultStoreUnavailable:
        """An error of redis-py as ours, in one sentence."""
        return redis_unavailable(error, self.settings, ResultStoreUnavailable)

    def close(self) -> None:
        """Drop all connections; a later call opens new ones."""
        self._pool.disconnect()

    # -- the server ----------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """What `yadtq doctor` shows of the server; a value that Redis does not tell is None."""
        info = self.guard(self.client.info)
        return {
            "version": str(info["redis_version"]),
            "valkey": info.get("valkey_version"),  # a Valkey keeps the Redis version that it descends from
            "run_id": info["run_id"],
            "mode": info.get("redis_mode"),
            "role": info.get("role"),
            "aof": bool(info.get("aof_enabled")),
            "aof_works": info.get("aof_last_write_status") != "err",
            "policy": info.get("maxmemory_policy"),
            "maxmemory": info.get("maxmemory"),
            "used_memory": info.get("used_memory"),
            "clock_skew": self.time_ms() / 1000 - time.time(),
        }

    def count(self, what: str, number: int) -> None:
        """Add to a counter that no other move raises, such as ``rejected``."""
        self.run("count", what, number)

    def is_full(self) -> bool:
        """Whether memory has reached maxmemory; False where there is no limit, or Redis does not tell."""
        try:
            memory = self.client.info("memory")
        except ResponseError as error:
            logger.debug("Redis does not tell of its memory: %s", error)
            return False
        except (RedisError, OSError) as error:
            raise self.unavailable(error) from error
        counted = memory["used_memory"] - memory.get("mem_not_counted_for_evict", 0)
        return bool(0 < memory.get("maxmemory", 0) < counted)

    def time_ms(self) -> int:
        """Redis' clock."""
        seconds, micros = self.guard(self.client.time)
        return int(seconds) * 1000 + int(micros) // 1000


def _is_demoted(error: Exception) -> bool:
    """Whether a server that was the primary has become a replica; before Redis 7, a script wraps what it was told."""
    return isinstance(error, ReadOnlyError) or "READONLY" in str(error)


def _connection_options(settings: Settings) -> dict[str, Any]:
    """redis-py's words for the kind of connection; raises ConfigError where a file of TLS cannot be used."""
    if settings.redis_location.startswith("unix:"):
        return {}
    if not settings.redis_tls:
        return {"socket_keepalive": True}
    tls_context(settings, "redis")
    return {
        "socket_keepalive": True,
        "ssl_ca_certs": settings.redis_ssl_cafile,
        "ssl_certfile": settings.redis_ssl_certfile,
        "ssl_keyfile": settings.redis_ssl_keyfile,
        "ssl_password": settings.redis_ssl_key_password,
    }
