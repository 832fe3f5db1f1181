"""The envelope as bytes: JSON both ways, signatures, limits of size and depth. Pure.

Arguments and results are JSON: objects with string keys, arrays, strings, numbers, true, false and null.
Tuples become arrays, UUIDs their text, enum members their value. NaN and infinities, sets, bytes, dates and all other objects are refused, never converted.

The signature is HMAC-SHA256 (RFC 2104) over topic, gen, time and the raw body, checked before the body is parsed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import uuid
from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

import orjson

from yadtq.core.yadtq_task import NAME_PATTERN, Task
from yadtq.errors import PayloadTooLarge, RejectedRecord, TaskNotSerializable

MAX_RECORD = 512 * 1024  # bytes of a record's body
MAX_RESULT = 1024 * 1024  # bytes of a result
INLINE_LIMIT = 2 * 1024  # bytes up to which an envelope also stays in Redis
HEADER_ROOM = 256  # of those, for the header: the longest has fewer
MAX_DEPTH = 32
SMALL = 64  # bytes; a longer value would turn a Redis row from a listpack into a hash table
HEADER = "yadtq"  # the one Kafka header: GEN:TIME:KEYID:HEXMAC, the last two empty where nothing is signed
SECRET_NAMES = re.compile(
    r"pass(word|wd|phrase)?$|secret|token|api_?key|credential|cookie|authorization", re.IGNORECASE
)
MASK = "••••••"
_LONG_INTEGER = re.compile(rb"\d{19}")  # orjson reads integers over 64 bits as floats, the standard library exactly
MOST_OPTION = 10_000_000_000  # of retries or seconds, also since the epoch; clocks and Redis can count so far


class UnknownKey(RejectedRecord):
    """Signed with a key that this process does not have; another one may have it."""


def dumps(value: Any, what: str = "value") -> bytes:
    """JSON of ``value``; ``what`` names it in the error.

    Raises:
        TaskNotSerializable: something in it is not JSON; the message says where.
    """
    try:
        data = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS)
        if b"null" not in data:  # orjson writes NaN as null
            return data
    except TypeError:
        pass  # not JSON, or an integer over 64 bits: the walk below tells
    _check_json(value, what, MAX_DEPTH * 8)
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_plain).encode()
    except ValueError as error:
        raise TaskNotSerializable(f"{what} holds an integer of more than 4300 digits") from error


def _plain(value: Any) -> Any:
    """UUIDs and enum members as orjson writes them."""
    return value.value if isinstance(value, Enum) else str(value)


def loads(data: bytes) -> Any:
    """The value of JSON bytes; raises ValueError."""
    if not _LONG_INTEGER.search(data):
        return orjson.loads(data)
    value = json.loads(data.decode())
    try:  # the standard library takes NaN, infinities and halves of surrogate pairs
        _check_json(value, "it", MAX_DEPTH * 8)
    except TaskNotSerializable as error:
        raise ValueError(str(error)) from error
    return value


def _check_json(value: Any, where: str, depth: int) -> None:
    if depth == 0:
        raise TaskNotSerializable(f"{where} is nested too deeply (or contains itself)")
    if isinstance(value, float) and not math.isfinite(value):
        raise TaskNotSerializable(f"{where} is {value}, which JSON cannot hold")
    if value is None or isinstance(value, (bool, int, float)):
        return
    if isinstance(value, Enum):
        _check_json(value.value, where, depth - 1)
    elif isinstance(value, uuid.UUID):
        return
    elif isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TaskNotSerializable(f"{where} has the key {key!r}; JSON keys are strings")
            _check_text(key, f"{where}, in a key,")
            _check_json(item, f"{where}[{key!r}]", depth - 1)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_json(item, f"{where}[{index}]", depth - 1)
    else:
        raise TaskNotSerializable(
            f"{where} is of type {type(value).__name__}, which is not JSON; pass text, numbers, lists or dicts"
        )


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TaskNotSerializable(f"{where} holds half a surrogate pair, which is not Unicode text") from error


def depth_of(value: Any) -> int:
    """How deeply lists and dicts are nested; walks level by level so that no depth overflows the stack."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, (dict, list, tuple))]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def arguments_json(args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """``[args, kwargs]`` as JSON where it is short and holds no secret, else ``""``."""
    if any(SECRET_NAMES.search(name) for name in kwargs):
        return ""
    text = dumps([args, kwargs])
    return text.decode() if len(text) <= SMALL else ""


def preview(args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """Arguments for people: ``"a.jpg", width=1280``, at most 64 bytes, secrets masked."""
    parts = [_brief(value) for value in args]
    parts += [f"{name}={MASK if SECRET_NAMES.search(name) else _brief(value)}" for name, value in kwargs.items()]
    return shorten(", ".join(parts))


def _brief(value: Any) -> str:
    return dumps(value[:SMALL] if isinstance(value, str) else value).decode()[: SMALL * 2]


def shorten(text: str, size: int = SMALL) -> str:
    """The text in at most ``size`` bytes of UTF-8 and on one line, ended by … where it was cut."""
    text = " ".join(text.split())
    data = text.encode(errors="replace")
    if len(data) <= size:
        return data.decode()
    return data[: size - 3].decode(errors="ignore") + "…"


def key_fingerprint(key: str) -> str:
    """What may be told of a signing key ``ID:SECRET``, to see whether two programs have the same: 16 hex digits."""
    return hashlib.sha256(b"yadtq signing key\n" + key.encode()).hexdigest()[:16]


class Stamp(NamedTuple):
    """What is signed of a record beside its topic and body."""

    gen: int
    at: int  # ms of Redis' clock, when it was made


SEALED = Stamp(1, 0)  # of an envelope in Redis, which is no record


class Codec:
    """Packs, signs, checks and reads records with a set of keys (the first signs, all verify)."""

    def __init__(self, signing_keys: Sequence[str], required: bool) -> None:
        pairs = [key.partition(":") for key in signing_keys]
        self._keys = {key_id: secret.encode() for key_id, _, secret in pairs}
        self._signer = pairs[0][0] if pairs else ""
        self._required = required

    def pack(self, task: Task) -> bytes:
        """The task's body.

        Raises:
            TaskNotSerializable: an argument is not JSON; names it.
            PayloadTooLarge: over 512 KiB.
        """
        options = {"retries": task.retries, "timeout": task.timeout, "expires_at": task.expires_at}
        body = {
            "v": 1,
            "id": task.id,
            "name": task.name,
            "args": task.args,
            "kwargs": task.kwargs,
            "opts": {name: value for name, value in options.items() if value is not None},
        }
        try:
            data = orjson.dumps(body, option=orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS)
            exact = b"null" not in data
        except TypeError:
            exact = False
        if not exact:
            for index, value in enumerate(task.args):
                dumps(value, f"argument {index + 1} of {task.name}")
            for name, value in task.kwargs.items():
                dumps(value, f"argument {name!r} of {task.name}")
            data = dumps(body)
        if len(data) > MAX_RECORD:
            raise PayloadTooLarge(
                f"the arguments of {task.name} take {len(data):,} bytes, more than {MAX_RECORD:,}; store them elsewhere and pass a reference"
            )
        if _may_be_deep(data) and max(depth_of(task.args), depth_of(task.kwargs)) > MAX_DEPTH:
            raise TaskNotSerializable(f"the arguments of {task.name} are nested deeper than {MAX_DEPTH} levels")
        return data

    def header(self, topic: str, stamp: Stamp, body: bytes) -> bytes:
        """The value of the record's header."""
        if not self._signer:
            return b"%d:%d::" % stamp
        mac = self._mac(self._signer, topic, stamp, body)
        return b"%d:%d:%s:%s" % (*stamp, self._signer.encode(), mac.encode())

    def seal(self, topic: str, body: bytes) -> bytes:
        """The body as Redis keeps it: a header that makes no record of today, a line feed, the body."""
        return self.header(topic, SEALED, body) + b"\n" + body

    def unseal(self, topic: str, sealed: bytes) -> bytes:
        """The body of a sealed envelope, its signature checked; raises RejectedRecord."""
        header, _, body = sealed.partition(b"\n")
        self.verify(topic, header, body)
        return body

    def verify(self, topic: str, header: bytes | None, body: bytes) -> Stamp:
        """Gen and time of a record whose size and signature are right; raises RejectedRecord with the reason."""
        if len(body) > MAX_RECORD:
            raise RejectedRecord(f"too large: {len(body):,} bytes, the limit is {MAX_RECORD:,}")
        stamp, key_id, mac = _read_header(header or b"")
        if not self._required and not mac:
            return stamp
        if not mac:
            raise RejectedRecord("not signed")
        name = key_id.decode(errors="replace")
        if name not in self._keys:
            raise UnknownKey(f"signed with the unknown key {name[:40]!r}")
        if not hmac.compare_digest(self._mac(name, topic, stamp, body).encode(), mac):
            raise RejectedRecord("the signature does not match")
        return stamp

    def read(self, topic: str, header: bytes | None, body: bytes) -> tuple[Stamp, Task]:
        """Stamp and task of a record; raises RejectedRecord with the reason."""
        stamp = self.verify(topic, header, body)
        return stamp, parse(body)

    @staticmethod
    def name_of(body: bytes) -> str:
        """The task's name in a body that has been verified."""
        return parse(body).name

    def _mac(self, key_id: str, topic: str, stamp: Stamp, body: bytes) -> str:
        signed = b"%s\n%d\n%d\n%s" % (topic.encode(), *stamp, body)
        return hmac.digest(self._keys[key_id], signed, "sha256").hex()


def _read_header(header: bytes) -> tuple[Stamp, bytes, bytes]:
    """Stamp, key id and signature, the last two empty where it is not signed; raises RejectedRecord."""
    gen, _, rest = header.partition(b":")
    at, _, rest = rest.partition(b":")
    key_id, _, mac = rest.partition(b":")
    if not (gen.isdigit() and len(gen) <= 9 and int(gen) >= 1 and at.isdigit() and len(at) <= 15):
        raise RejectedRecord("no yadtq header: it was not sent by a YADTQ client")
    return Stamp(int(gen), int(at)), key_id, mac


def _may_be_deep(data: bytes) -> bool:
    return data.count(b"[") + data.count(b"{") > MAX_DEPTH


def parse(body: bytes) -> Task:
    """The task of a body, its shape checked; raises RejectedRecord with the reason."""
    try:
        data = loads(body)
    except (ValueError, RecursionError) as error:
        raise RejectedRecord("not JSON") from error
    if _may_be_deep(body) and depth_of(data) > MAX_DEPTH + 2:
        raise RejectedRecord(f"nested deeper than {MAX_DEPTH} levels")
    try:
        if data["v"] != 1:
            raise RejectedRecord(f"version {str(data['v'])[:20]!r} is not known to this worker; upgrade it")
        task_id, name, args, kwargs, opts = data["id"], data["name"], data["args"], data["kwargs"], data["opts"]
    except (KeyError, TypeError) as error:
        raise RejectedRecord("wrong shape: v, id, name, args, kwargs and opts are needed") from error
    if not (
        _is_name(task_id)
        and _is_name(name)
        and isinstance(args, list)
        and isinstance(kwargs, dict)
        and isinstance(opts, dict)
    ):
        raise RejectedRecord(
            "wrong shape: a field has the wrong type or a name other characters than A-Z a-z 0-9 _ . : -"
        )
    if not opts:
        return Task(task_id, name, tuple(args), kwargs)
    retries, timeout, expires_at = opts.get("retries"), opts.get("timeout"), opts.get("expires_at")
    if not (_is_number(retries, int) and _is_number(timeout) and _is_number(expires_at)):
        raise RejectedRecord(f"wrong shape: retries, timeout and expires_at are numbers up to {MOST_OPTION:,}")
    return Task(task_id, name, tuple(args), kwargs, retries, timeout, expires_at)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and NAME_PATTERN.fullmatch(value) is not None


def _is_number(value: Any, kind: Any = (int, float)) -> bool:
    return value is None or (isinstance(value, kind) and not isinstance(value, bool) and 0 <= value <= MOST_OPTION)
