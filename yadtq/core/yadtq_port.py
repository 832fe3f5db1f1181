"""Who answers at a port: asked only after a client could make nothing of it, to tell a person what is there."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from enum import Enum

PATIENCE = 1.0  # seconds for each question

_PING = b"PING\r\n"  # Redis answers it with or without a sign-in
_CORRELATION = 20_825
# ApiVersions v0 of client "yadtq": every Kafka answers it before any sign-in.
_API_VERSIONS = struct.pack(">ihhih5s", 15, 18, 0, _CORRELATION, 5, b"yadtq")


class Answerer(Enum):
    """What kind of server it is."""

    REDIS = "redis"
    KAFKA = "kafka"
    TLS = "tls"  # what is behind the encryption is not asked
    OTHER = "other"
    SILENT = "silent"  # takes connections, says nothing
    NOBODY = "nobody"


def who_answers(host: str, port: int) -> Answerer:
    """Takes at most about four seconds, for a server that never says a word; otherwise next to none."""
    try:
        to_ping = _reply(host, port, _PING)
        if to_ping.startswith((b"+PONG", b"-NOAUTH", b"-LOADING", b"-DENIED", b"-MISCONF")):
            return Answerer.REDIS
        to_versions = _reply(host, port, _API_VERSIONS)
    except OSError:
        return Answerer.NOBODY
    if to_versions[4:8] == struct.pack(">i", _CORRELATION):
        return Answerer.KAFKA
    if _speaks_tls(host, port):
        return Answerer.TLS
    return Answerer.OTHER if to_ping or to_versions else Answerer.SILENT


def _reply(host: str, port: int, question: bytes) -> bytes:
    """The first bytes of the answer; none where it hangs up or stays silent. Raises OSError where nobody listens."""
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        with contextlib.suppress(OSError):  # whatever ends the talk: nothing was said
            connection.sendall(question)
            return connection.recv(64)
    return b""


def _speaks_tls(host: str, port: int) -> bool:
    """Whether a client's hello is answered with a record of TLS: the server's hello, or an alert."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent; only whether it is TLS matters
    hello = ssl.MemoryBIO()  # not wrap_socket, which leaks a socket whose connection is reset early
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), hello, server_hostname=host).do_handshake()
    with contextlib.suppress(OSError):
        return _reply(host, port, hello.read()).startswith((b"\x16\x03", b"\x15\x03"))
    return False
