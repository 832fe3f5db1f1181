"""What an error of a server's client means to a person: one sentence that says what happened and what to do.

Errors are told apart by their class names and words, so that this file needs neither client.
"""

from __future__ import annotations

import re
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from yadtq.config import Settings
from yadtq.core.yadtq_knock import Refused
from yadtq.core.yadtq_port import Answerer, who_answers
from yadtq.core.yadtq_tls import tls_trouble
from yadtq.errors import BrokerUnavailable, ResultStoreUnavailable

AWAY, FULL, REFUSED = "away", "full", "refused"
MAX_DETAIL = 200  # characters of a server's own words

_Error = TypeVar("_Error", bound=ResultStoreUnavailable)


class Trouble(NamedTuple):
    """``what`` follows the server's name; ``detail`` is in the client's or server's words, and may name addresses."""

    kind: str
    what: str
    detail: str = ""


class _Rule(NamedTuple):
    sign: str  # a pattern in the error's class names and words
    kind: str
    what: str
    quoted: bool = False  # whether the server's own words help


_REDIS_RULES = (
    _Rule(
        "AuthenticationError|WRONGPASS|NOAUTH",
        REFUSED,
        "refused the user name or password; check redis_url, or redis_username and redis_password",
    ),
    _Rule(
        "OutOfMemoryError|used memory > 'maxmemory'",
        FULL,
        "is full (maxmemory reached): nothing new is accepted until memory is freed or maxmemory raised",
    ),
    _Rule(
        "NoPermissionError|NOPERM|no permissions|ACL failure",
        REFUSED,
        "does not allow this user to do that; give it the rights listed in docs/security.md",
        quoted=True,
    ),
    _Rule("MISCONF", REFUSED, "cannot write to its disk and takes no changes; free space there and see Redis' log"),
    _Rule("ReadOnlyError|READONLY", AWAY, "is a replica and takes no changes; set YADTQ_REDIS_URL to the primary"),
    _Rule(
        "NOREPLICAS",
        REFUSED,
        "has fewer replicas in step than min-replicas-to-write asks for, and takes no changes until they are back",
    ),
    _Rule("LOADING|BusyLoadingError", AWAY, "is loading its data; it answers once that is done"),
    _Rule(
        "ClusterError|ClusterDownError|MovedError|CROSSSLOT|CLUSTERDOWN|SELECT is not allowed in cluster mode",
        REFUSED,
        "is a Redis Cluster, which YADTQ cannot use; set YADTQ_REDIS_URL to a single Redis or a primary with replicas",
    ),
    _Rule(
        "DB index is out of range", REFUSED, "has no database of this number; correct redis_db, or the end of redis_url"
    ),
    _Rule(
        "WAITAOF",
        REFUSED,
        "cannot wait for its disk; durable=True needs Redis 7.2 or newer, with appendonly yes",
        quoted=True,
    ),
    _Rule("ResponseError", REFUSED, "refused", quoted=True),
    _Rule(
        r"gaierror|Error -\d+ connecting",
        AWAY,
        "cannot be reached: no machine of this name is known; correct YADTQ_REDIS_URL",
        quoted=True,
    ),
)

_KAFKA_RULES = (
    _Rule(
        "SaslAuthenticationFailedError",
        REFUSED,
        "refused the user name or password; check kafka_username, kafka_password and kafka_sasl_mechanism",
    ),
    _Rule(
        "AuthorizationError",
        REFUSED,
        "does not allow {kafka_user} to do that; grant the rights listed in docs/security.md",
        quoted=True,
    ),
    _Rule(
        "InvalidReplicationFactorError",
        REFUSED,
        "has fewer brokers than a topic shall have copies; start more, or lower YADTQ_REPLICATION_FACTOR",
    ),
    _Rule(
        "NotEnoughReplicas",
        AWAY,
        "has too few copies of the topic in step (min.insync.replicas) and takes nothing until its brokers are back",
    ),
    _Rule(
        "InvalidTimestampError",
        REFUSED,
        "refused a record for its time: the clocks of Kafka and Redis are far apart; synchronise them with NTP",
    ),
    _Rule(
        "RecordListTooLargeError|MessageSizeTooLargeError",
        REFUSED,
        "takes no records of this size; set max.message.bytes of the topic to 2097152",
    ),
    _Rule("UnknownTopicOrPartitionError", AWAY, "does not have the topic (any more); it is made anew"),
    _Rule("RequestTimedOutError|NetworkExceptionError", AWAY, "did not answer in time", quoted=True),
    _Rule(
        "Coordinator|LeaderNotAvailableError|NotLeaderForPartitionError|NotControllerError|BrokerNotAvailableError",
        AWAY,
        "is not ready yet, it settles which broker leads; try again in a moment",
        quoted=True,
    ),
    _Rule("BrokerResponseError", REFUSED, "refused", quoted=True),
    _Rule(
        "gaierror",
        AWAY,
        "cannot be reached: no machine of this name is known; correct YADTQ_KAFKA_SERVERS",
        quoted=True,
    ),
)

# Errors of a server that took the connection and then did not speak as expected: worth a look at who it is.
_HUNG_UP = re.compile(
    "Connection closed|Connection reset|Error 104|Error 32|InvalidResponse|Protocol|SSL|UnicodeDecode"
)
_NEVER_SPOKE = re.compile("TimeoutError|ConnectionResetError|Unable to bootstrap|KafkaConnectionError")


def redis_unavailable(error: BaseException, settings: Settings, kind: type[_Error]) -> _Error:
    """An error of redis-py as ours."""
    trouble = _first(_REDIS_RULES, error) or _tls(error, "redis") or _redis_connection(error, settings)
    return kind(
        _message(f"Redis at {settings.redis_address}", trouble), kind=trouble.kind, public=f"Redis {trouble.what}"
    )


def kafka_unavailable(error: BaseException, settings: Settings) -> BrokerUnavailable:
    """An error of kafka-python, or of the knock before it, as ours."""
    trouble = Trouble(REFUSED, str(error)) if isinstance(error, Refused) else _tls(error, "kafka")
    trouble = trouble or _first(_KAFKA_RULES, error) or _kafka_connection(error, settings)
    what = trouble.what.replace("{kafka_user}", settings.kafka_username or "this client")
    message = _message(f"Kafka at {settings.kafka_address}", trouble._replace(what=what))
    return BrokerUnavailable(message, kind=trouble.kind, public=f"Kafka {what}")


def _tls(error: BaseException, server: str) -> Trouble | None:
    what = tls_trouble(error, server)
    return Trouble(REFUSED, what) if what else None


def _message(server: str, trouble: Trouble) -> str:
    return f"{server} {trouble.what}" + (f" ({trouble.detail})" if trouble.detail else "")


def _signs(error: BaseException) -> str:
    """What an error can be told by: its classes and its words."""
    return " ".join(kind.__name__ for kind in type(error).__mro__) + f" {error}"


def _detail(error: BaseException) -> str:
    """The words of an error, without kafka-python's dump of request and response."""
    said = re.search("error_message='([^']+)'", str(error))
    words = said[1] if said else str(error)
    return words if len(words) <= MAX_DETAIL else words[:MAX_DETAIL] + "…"


def _first(rules: tuple[_Rule, ...], error: BaseException) -> Trouble | None:
    signs = _signs(error)
    rule = next((rule for rule in rules if re.search(rule.sign, signs)), None)
    return rule and Trouble(rule.kind, rule.what, _detail(error) if rule.quoted else "")


def _redis_connection(error: BaseException, settings: Settings) -> Trouble:
    """An error without an answer of Redis: nobody is there, or somebody else."""
    signs, detail = _signs(error), _detail(error)
    if settings.redis_tls and "No such file" in signs:
        return Trouble(REFUSED, "cannot be reached in TLS: a file named in redis_url does not exist", detail)
    if "TimeoutError" in signs:
        tls = " in TLS; does that port speak it, is it" if settings.redis_tls else "; is it running and"
        return Trouble(AWAY, f"does not answer{tls} reachable?", detail)
    parts = urlsplit(settings.redis_location)
    found = Answerer.NOBODY
    if parts.hostname and _HUNG_UP.search(signs):
        found = who_answers(parts.hostname, parts.port or 6379)
    other = {
        Answerer.KAFKA: "is no Redis: a Kafka answers there; correct YADTQ_REDIS_URL",
        Answerer.OTHER: "is no Redis: something else answers there; correct YADTQ_REDIS_URL",
        Answerer.TLS: "" if settings.redis_tls else "speaks TLS; write rediss:// in redis_url, or set redis_ssl",
    }.get(found)
    if other:
        return Trouble(REFUSED, other)
    return Trouble(AWAY, "cannot be reached; start Redis there or set YADTQ_REDIS_URL", detail)


def _kafka_connection(error: BaseException, settings: Settings) -> Trouble:
    """An error without an answer of Kafka: nobody is there, or somebody else."""
    detail = f"{type(error).__name__}: {_detail(error).removeprefix(f'{type(error).__name__}: ')}"
    protocol = settings.kafka_security_protocol
    encrypted = protocol.endswith("SSL")
    found = Answerer.NOBODY
    if _NEVER_SPOKE.search(_signs(error)):
        host, _, port = settings.kafka_servers[0].rpartition(":")
        found = who_answers(host.strip("[]"), int(port))
    other = {
        Answerer.REDIS: "is no Kafka: a Redis answers there; correct YADTQ_KAFKA_SERVERS",
        Answerer.OTHER: "is no Kafka: something else answers there; correct YADTQ_KAFKA_SERVERS",
        Answerer.TLS: "" if encrypted else "answers in TLS there; set kafka_security_protocol to SSL or SASL_SSL",
        Answerer.KAFKA: f"does not speak TLS there, as {protocol} asks; correct YADTQ_KAFKA_SECURITY_PROTOCOL"
        if encrypted
        else "",
    }.get(found)
    if other:
        return Trouble(REFUSED, other)
    if found is Answerer.KAFKA and "Failed to update metadata" in detail:  # by a producer, which had reached it before
        return Trouble(AWAY, "does not have the topic (any more); it is made anew")
    unfriendly = {
        Answerer.SILENT: "takes connections and says nothing; is it a Kafka, and does it hang?",
        Answerer.KAFKA: f"answers, but not to {protocol}, or names an address of its own (advertised.listeners)"
        " that cannot be reached from here",
    }.get(found, "cannot be reached; start Kafka there or set YADTQ_KAFKA_SERVERS")
    return Trouble(AWAY, unfriendly, detail)
