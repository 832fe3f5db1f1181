"""Knocks at a Kafka listener as its clients will: connection, TLS, SASL; each refusal in one sentence.

kafka-python tries a refused login again until its time is up, then tells of the time and not of the refusal.
Two requests of Kafka's protocol tell it at once: SaslHandshake (17, v1) and SaslAuthenticate (36, v0).
"""

from __future__ import annotations

import socket
import ssl
import struct
from typing import Protocol

CONNECT_TIMEOUT = 1.0  # seconds
ANSWER_TIMEOUT = 3.0  # seconds
_HANDSHAKE, _AUTHENTICATE = (17, 1), (36, 0)
_UNSUPPORTED_MECHANISM, _ILLEGAL_STATE = 33, 34
_TLS_ALERT = b"\x15\x03"


class Refused(Exception):
    """The listener wants it otherwise; says how, as the rest of a sentence that begins with its address."""


class Mechanism(Protocol):
    """One SASL exchange, as kafka-python has them."""

    def auth_bytes(self) -> bytes: ...
    def receive(self, auth_bytes: bytes) -> object: ...
    def is_done(self) -> bool: ...


def knock(
    host: str, port: int, context: ssl.SSLContext | None, name: str | None = None, mechanism: Mechanism | None = None
) -> None:
    """Return once the listener would serve us; ``mechanism`` is that of ``name``, both None without SASL.

    Raises:
        Refused: it answers, and will not serve us.
        OSError: it does not answer, or not in TLS.
    """
    with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT) as plain:
        plain.settimeout(ANSWER_TIMEOUT)
        if context is None:
            _Talk(plain).log_in(name, mechanism)
            return
        with context.wrap_socket(plain, server_hostname=host) as wrapped:
            _Talk(wrapped).log_in(name, mechanism)


class _Talk:
    """Requests and answers on one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def log_in(self, name: str | None, mechanism: Mechanism | None) -> None:
        answer = self._ask(_HANDSHAKE, _text(name or "PLAIN"))
        (code,) = struct.unpack_from(">h", answer)
        if mechanism is None:
            if code in (0, _UNSUPPORTED_MECHANISM):
                raise Refused(
                    "wants a user name and password there; set kafka_security_protocol to SASL_SSL or SASL_PLAINTEXT, "
                    "kafka_sasl_mechanism, kafka_username and kafka_password, or take another port"
                )
            return
        if code == _ILLEGAL_STATE:
            raise Refused(
                "takes no user name there; set kafka_security_protocol to SSL or PLAINTEXT, or take another port"
            )
        if code:
            known = ", ".join(_texts(answer[2:])) or "none"
            raise Refused(f"does not know {name}, only {known}; change kafka_sasl_mechanism")
        while not mechanism.is_done():
            self._exchange(mechanism)

    def _exchange(self, mechanism: Mechanism) -> None:
        token = mechanism.auth_bytes()
        answer = self._ask(_AUTHENTICATE, struct.pack(">i", len(token)) + token)
        code, length = struct.unpack_from(">hh", answer)
        if code:
            raise Refused(
                "refused the user name or password; check kafka_username, kafka_password and kafka_sasl_mechanism"
            )
        (size,) = struct.unpack_from(">i", answer, at := 4 + max(length, 0))
        try:
            mechanism.receive(answer[at + 4 : at + 4 + size])
        except ValueError as error:
            raise Refused(f"does not prove that it knows the password ({error}); it may be somebody else") from error

    def _ask(self, request: tuple[int, int], body: bytes) -> bytes:
        message = struct.pack(">hhi", *request, 1) + _text("yadtq") + body
        self._connection.sendall(struct.pack(">i", len(message)) + message)
        head = self._read(4)
        if head.startswith(_TLS_ALERT):
            raise Refused("answers in TLS there; set kafka_security_protocol to SSL or SASL_SSL, or take another port")
        return self._read(struct.unpack(">i", head)[0])[4:]  # less the correlation id

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self._connection.recv(size - len(data))
            if not more:
                raise Refused(
                    "hangs up without a word; check that the port is that of a Kafka listener and that "
                    "kafka_security_protocol is the listener's"
                )
            data += more
        return data


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value.encode())) + value.encode()


def _texts(data: bytes) -> list[str]:
    """An array of strings."""
    (count,) = struct.unpack_from(">i", data)
    at, found = 4, []
    for _ in range(count):
        (length,) = struct.unpack_from(">h", data, at)
        found.append(data[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return found
