"""All that speaks Redis: the keys, the connection, and one method a move; each move is a Lua script over a batch.

Keys, each after ``redis_prefix``. Scripts in lua/ spell the same names; a test holds the two together.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, DataError, NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from yadtq.config import Settings
from yadtq.core.yadtq_codec import INLINE_LIMIT, key_fingerprint
from yadtq.errors import ConfigError, ResultStoreUnavailable

logger = logging.getLogger(__name__)

KEYS: dict[str, str] = {
    "t:": "hash   a task's row, by id",
    "envelope:": "string a task's sealed envelope, by id",
    "result:": "string a result over 64 bytes, JSON, by id",
    "history:": "list   attempts that did not succeed, JSON, newest 50, by id",
    "key:": "string the id submitted with an idempotency key, by the key's hash",
    "outbox": "zset   tasks Kafka has not acknowledged -> ms of the next publish check",
    "due": "zset   tasks -> ms when they are due or expire",
    "index:": "zset   tasks by the time they entered a status (µs), by status; index:all by submit time",
    "run:": "set    the tasks an incarnation holds, by incarnation",
    "worker:": "hash   one incarnation: beat, series, about, state, slots, suspect, control, by incarnation",
    "workers": "zset   incarnations -> ms of the last beat",
    "dead": "zset   incarnations declared dead -> ms",
    "left": "zset   incarnations that took leave -> ms, newest 200",
    "backlog": "hash   queued tasks, by queue",
    "busy": "hash   processing tasks, by queue",
    "totals": "hash   ended tasks since the start, by status; fenced, rebuilt, rejected",
    "minute:": "hash   success, failed, retried … of one minute, by its start (s)",
    "seq": "string number of the last change",
    "upd": "zset   what changed (t:, w: and id) -> seq, newest 10,000",
    "signing": "string fingerprints of the signing keys the workers know; absent where they take unsigned tasks",
    "epoch": "string when this data set was born (ms) and a random part",
    "audit": "string where the keeper's audit goes on",
    "done:": "channel told the status when a task ends, by id",
    "user:": "hash   a user of the web, by name",
    "session:": "hash   a signed-in session, by the hash of its id",
    "login:": "hash   a one-time sign-in link, by the hash of its token",
    "throttle:": "string attempts in the present window, by what is throttled",
    "token:": "hash   an API token, by its hash",
    "web_secret": "string the web's cookie key where none is set",
}

CONNECT_TIMEOUT = 1.0  # seconds
READ_TIMEOUT = 2.0  # seconds
PATIENCE = 5.0  # seconds a client's call may take in all
_FULL_PROOF = frozenset(
    {"pubd", "claim", "rebuild", "fin", "beat", "release", "reap", "due", "sweep", "audit", "cancel", "requeue"}
)

T = TypeVar("T")


class Unanswered(ResultStoreUnavailable):
    """The call was sent but not answered: it may or may not have been carried out."""


@dataclass(frozen=True)
class Reply:
    """What every script answers: the era it speaks for, Redis' time, and one value per item."""

    era: str
    now: int  # ms
    items: list[Any]


@dataclass(frozen=True)
class NewTask:
    """One task to accept."""

    id: str
    name: str
    queue: str
    envelope: bytes
    args_json: str
    preview: str
    delay: float = 0.0  # seconds
    expires: float | None = None  # seconds from now
    key: str | None = None


@dataclass(frozen=True)
class ClaimItem:
    """One record to claim."""

    id: str
    gen: int
    token: str
    record_time: int  # ms
    envelope: bytes  # empty unless over the inline limit


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


def seconds_to_ms(seconds: float) -> int:
    return int(seconds * 1000)


class ResultStore:
    """Status, results and heartbeats in Redis. Lazy and thread-safe; connects at the first call."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.prefix = settings.redis_prefix
        tls = {"ssl_ca_certs": settings.redis_ssl_cafile} if settings.redis_ssl_cafile else {}
        self._pool = redis.ConnectionPool.from_url(
            settings.redis_location,
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_timeout=READ_TIMEOUT,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
            **tls,
        )
        self.client: Any = redis.Redis(  # redis-py types replies as unions that fit no single call
            connection_pool=self._pool
        )
        self._scripts: dict[str, _Script] = {}
        self._lock = threading.Lock()
        fingerprints = [f",{key_fingerprint(key)}," for key in settings.signing_keys]
        self._signs_with = fingerprints[0] if fingerprints else ",unsigned,"
        self._accepts = "".join(fingerprints) if settings.signing_required else ""
        scale = settings.time_scale
        self.offline_after = 30.0 * scale  # seconds of silence after which a worker counts as dead
        self._recheck = seconds_to_ms(20 * scale)
        self._largest_gap = seconds_to_ms(10 * scale)
        self._steady_for = seconds_to_ms(15 * scale)
        self._unheld_after = seconds_to_ms(15 * scale)
        self._result_ttl = int(max(settings.result_ttl, 7200))
        self._failed_ttl = int(max(settings.failed_ttl, 7200))  # a duplicate record must still find the row
        self._tombstone_ttl = int(max(self._result_ttl, settings.topic_retention))

    # -- calls -----------------------------------------------------------------------------------

    def key(self, name: str, part: str = "") -> str:
        """The full name of a key of :data:`KEYS`."""
        return f"{self.prefix}{name}{part}"

    def run(self, move: str, *args: Any) -> Reply:
        """Run one script once.

        Raises:
            Unanswered: it was sent, and no answer came.
            ResultStoreUnavailable: Redis cannot be reached, is full, or refused.
        """
        script = self._script(move)
        try:
            raw = self._call("EVALSHA", script.sha, 1, self.prefix, *args)
        except NoScriptError:
            self._check_server(script)
            raw = self._call("EVAL", script.source, 1, self.prefix, *args)
        return Reply(raw[0].decode(), raw[1], raw[2:])

    def _call(self, *command: Any) -> Any:
        """One command on one connection, so that "never sent" and "no answer" can be told apart."""
        try:
            connection: Any = self._pool.get_connection()
        except (RedisError, OSError) as error:
            raise self.unavailable(error) from error
        try:
            connection.send_command(*command)
            return connection.read_response()
        except ResponseError as error:
            if isinstance(error, NoScriptError):
                raise
            raise self.unavailable(error) from error
        except (RedisError, OSError) as error:
            connection.disconnect()
            raise Unanswered(self._sentence(error)) from error
        finally:
            self._pool.release(connection)

    def guard(self, call: Callable[[], T]) -> T:
        """A plain redis-py call with our errors."""
        try:
            return call()
        except DataError:  # a value that Redis cannot take is our own fault, no outage
            raise
        except (RedisError, OSError) as error:
            raise self.unavailable(error) from error

    def patiently(self, call: Callable[[], T], patience: float = PATIENCE) -> T:
        """The call, repeated with growing pauses for up to ``patience`` seconds in all; it must be idempotent."""
        deadline, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                return call()
            except ResultStoreUnavailable as error:
                # A further try may take a whole read timeout; the caller was promised an answer in time.
                if time.monotonic() + pause + READ_TIMEOUT > deadline or not _may_pass(error):
                    raise
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    def _script(self, move: str) -> _Script:
        with self._lock:
            if move not in self._scripts:
                self._scripts[move] = _Script(move)
            return self._scripts[move]

    def _check_server(self, script: _Script) -> None:
        """Redis does not know a script: a first use, or a new server; look which kind it is."""
        info = self.guard(lambda: self.client.info("server"))
        version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        if version < (6, 2):
            raise ResultStoreUnavailable(
                f"Redis at {self.settings.redis_address} is version {info['redis_version']}; YADTQ needs 6.2 or newer, please upgrade it"
            )
        script.prepare(modern=version >= (7, 0))

    def unavailable(self, error: BaseException) -> ResultStoreUnavailable:
        """An error of redis-py as ours, in one sentence."""
        return ResultStoreUnavailable(self._sentence(error))

    def _sentence(self, error: BaseException) -> str:
        where = f"Redis at {self.settings.redis_address}"
        if isinstance(error, AuthenticationError) or "WRONGPASS" in str(error) or "NOAUTH" in str(error):
            return f"{where} refused the user name or password; check redis_url, or redis_username and redis_password"
        if "used memory > 'maxmemory'" in str(error):
            return f"{where} is full (maxmemory reached): nothing new is accepted until memory is freed or maxmemory raised"
        if isinstance(error, ResponseError):
            return f"{where} refused: {error}"
        if isinstance(error, redis.TimeoutError):
            return f"{where} does not answer; is it running and reachable? ({error})"
        return f"{where} cannot be reached; start Redis there or set YADTQ_REDIS_URL ({error})"

    def close(self) -> None:
        """Drop all connections; a later call opens new ones."""
        self._pool.disconnect()

    # -- moves of clients --------------------------------------------------------------------------

    def enqueue(self, tasks: Sequence[NewTask]) -> Reply:
        """Accept tasks; items are their ids (an earlier one where the idempotency key is known).

        Raises:
            ConfigError: the workers would reject what this client signs, or does not sign.
        """
        args: list[Any] = [self._recheck, self._tombstone_ttl + self._failed_ttl, self._signs_with]
        for task in tasks:
            expires = "" if task.expires is None else seconds_to_ms(task.expires)
            args += (
                task.id,
                task.name,
                task.queue,
                seconds_to_ms(task.delay),
                expires,
                task.envelope,
                task.args_json,
                task.preview,
            )
            args.append(hashlib.sha256(f"{task.name}\n{task.key}".encode()).hexdigest() if task.key else "")
        reply = self.run("enq", *args)
        if reply.items == [b"UNSIGNED"]:
            raise ConfigError(
                "the workers take only tasks signed with their keys, and this client does not have the one in use: "
                "set YADTQ_SIGNING_KEYS as theirs (beside `yadtq up`: set -a; . .yadtq/env; set +a)"
            )
        return reply

    def published(self, records: Iterable[tuple[str, int, int, int]]) -> Reply:
        """Kafka has acknowledged (id, gen, partition, offset)."""
        return self.run("pubd", INLINE_LIMIT, *_flat(records))

    def cancel(self, task_id: str, asked_at: int) -> str:
        """The status afterwards, ``stopping`` for a running task, ``""`` for an unknown one. ``asked_at`` in ms of Redis time."""
        return str(self.run("cancel", task_id, asked_at, self._tombstone_ttl).items[0].decode())

    def retry(self, task_id: str, envelope: bytes = b"") -> list[str]:
        """The status found; or NOENVELOPE, queue, gen, partition, offset of the record to read it from."""
        return [item.decode() for item in self.run("retry", task_id, envelope).items]

    def wait_for_disk(self) -> None:
        """Wait until what this client wrote is in Redis' append-only file (Redis >= 7.2)."""
        local, _replicas = self.guard(lambda: self.client.waitaof(1, 0, seconds_to_ms(READ_TIMEOUT) // 2))
        if not local:
            raise ResultStoreUnavailable(
                f"Redis at {self.settings.redis_address} did not write to disk in time; is appendonly on?"
            )

    def describe(self) -> dict[str, Any]:
        """What `yadtq doctor` shows of the server; a value that Redis does not tell is None."""
        info = self.guard(self.client.info)
        return {
            "version": str(info["redis_version"]),
            "run_id": info["run_id"],
            "aof": bool(info.get("aof_enabled")),
            "policy": info.get("maxmemory_policy"),
            "maxmemory": info.get("maxmemory"),
            "used_memory": info.get("used_memory"),
            "clock_skew": self.time_ms() / 1000 - time.time(),
        }

    def time_ms(self) -> int:
        """Redis' clock."""
        seconds, micros = self.guard(self.client.time)
        return int(seconds) * 1000 + int(micros) // 1000

    # -- moves of workers --------------------------------------------------------------------------

    def claim(self, inc: str, worker: str, items: Sequence[ClaimItem], *, reasserts: bool = False) -> Reply:
        args = [inc, worker, int(reasserts), self._tombstone_ttl, 7_200_000]
        for item in items:
            args += (item.id, item.gen, item.token, item.record_time, item.envelope)
        return self.run("claim", *args)

    def rebuild(self, rows: Iterable[tuple[Any, ...]]) -> Reply:
        """Rows lost with Redis: (id, gen, name, queue, record time ms, expires ms or "", envelope, args JSON, preview)."""
        return self.run("rebuild", *_flat(rows))

    def finish(self, inc: str, runs: Iterable[tuple[Any, ...]]) -> Reply:
        """Ended runs: (id, token, kind, short, whole, reason, delay ms, history entry)."""
        unit = seconds_to_ms(self.settings.time_scale)
        return self.run(
            "fin", inc, self._result_ttl, self._failed_ttl, self._tombstone_ttl, INLINE_LIMIT, unit, *_flat(runs)
        )

    def beat(self, inc: str, about: str, state: str, slots: int, held: Iterable[str]) -> Reply:
        return self.run(
            "beat",
            inc,
            self._largest_gap,
            self._unheld_after,
            self._tombstone_ttl,
            about,
            state,
            slots,
            self._accepts,
            *held,
        )

    def release(self, inc: str, held: Iterable[tuple[str, str]], *, leave: bool) -> Reply:
        """Hand back (id, token)s; with ``leave`` the incarnation is taken off the list of workers."""
        return self.run("release", inc, self._tombstone_ttl, int(leave), *_flat(held))

    # -- moves of the keeper -----------------------------------------------------------------------

    def reap(self, inc: str) -> list[str]:
        """Declare silent incarnations dead and move their tasks on; returns them."""
        offline = seconds_to_ms(self.offline_after)
        reply = self.run(
            "reap", inc, offline, self._largest_gap, self._steady_for, self._tombstone_ttl, self._failed_ttl
        )
        return [item.decode() for item in reply.items]

    def due(self, limit: int) -> int:
        """Move up to ``limit`` tasks whose time has come; returns how many there were."""
        return int(self.run("due", limit, self._tombstone_ttl).items[0])

    def sweep(self, limit: int) -> Reply:
        """Outbox entries to publish again; items are id, gen, queue, hand-backs, envelope, flat."""
        return self.run("sweep", limit, self._recheck, self._failed_ttl)

    def audit(self, limit: int) -> list[tuple[str, int, str, int | None, int | None]]:
        """Long queued tasks without an outbox entry: (id, gen, queue, partition, offset)."""
        items = [
            item.decode() for item in self.run("audit", seconds_to_ms(300 * self.settings.time_scale), limit).items
        ]
        rows = (items[i : i + 5] for i in range(0, len(items), 5))
        return [
            (i, int(gen), queue, int(part) if part else None, int(off) if off else None)
            for i, gen, queue, part, off in rows
        ]

    def requeue(self, tasks: Iterable[tuple[str, int]]) -> list[str]:
        """(id, gen)s whose record is gone: published again, or failed; returns those published again."""
        return [item.decode() for item in self.run("requeue", self._failed_ttl, *_flat(tasks)).items]


def _flat(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [value for row in rows for value in row]


def _may_pass(error: ResultStoreUnavailable) -> bool:
    """Whether trying again can help: not after a refusal, which would only be repeated."""
    return (
        not isinstance(error.__cause__, ResponseError)
        or "LOADING" in str(error.__cause__)
        or "READONLY" in str(error.__cause__)
    )
