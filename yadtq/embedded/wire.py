"""Asks a Kafka broker which brokers it knows: two dozen bytes, so that this package needs no Kafka client."""

from __future__ import annotations

import socket
import struct

from yadtq.embedded.folder import LOOPBACK

METADATA, VERSION, CORRELATION, NO_CLIENT_ID, NO_TOPICS = 3, 1, 1, -1, 0
REQUEST = struct.pack(">hhihi", METADATA, VERSION, CORRELATION, NO_CLIENT_ID, NO_TOPICS)


def known_brokers(port: int) -> set[int]:
    """The ids of the live brokers by the word of the one at ``port``; none while it does not serve."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(REQUEST)) + REQUEST)
            (length,) = struct.unpack(">i", _read(connection, 4))
            return _broker_ids(_read(connection, length))
    except OSError:
        return set()


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the broker hung up")
        data += more
    return data


def _broker_ids(reply: bytes) -> set[int]:
    """Metadata response v1: correlation id, then an array of (id, host, port, rack or null)."""
    (count,) = struct.unpack_from(">i", reply, 4)
    at, ids = 8, set()
    for _ in range(count):
        broker, host_length = struct.unpack_from(">ih", reply, at)
        at += 6 + host_length + 4
        (rack_length,) = struct.unpack_from(">h", reply, at)
        at += 2 + max(rack_length, 0)
        ids.add(broker)
    return ids
