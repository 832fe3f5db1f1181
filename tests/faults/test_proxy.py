"""The proxy itself, before a small server that echoes: each weather does what its name says."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import BLACKHOLE, HALF_OPEN, PASS, REFUSE, Proxy, Switchboard, Weather
from tests.helpers import eventually

ECHO = b"something"


class EchoServer(socketserver.ThreadingTCPServer):
    """Sends back what it hears, and remembers it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EchoHandler)
        self.heard = b""

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class EchoHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, EchoServer)
        try:
            while data := self.request.recv(65_536):
                self.server.heard += data
                self.request.sendall(data)
        except ConnectionError:
            return


@pytest.fixture(scope="module")
def switchboard() -> Iterator[Switchboard]:
    with Switchboard(seed=1) as switchboard:
        yield switchboard


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with EchoServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(switchboard: Switchboard, server: EchoServer) -> Proxy:
    return switchboard.proxy(server.port)


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        assert echoed(client) == ECHO
        yield client


def echoed(client: socket.socket, data: bytes = ECHO) -> bytes:
    """What comes back for what is sent."""
    client.sendall(data)
    found = b""
    while len(found) < len(data):
        part = client.recv(65_536)
        if not part:
            return found
        found += part
    return found


def nothing_comes(client: socket.socket) -> bool:
    """Whether a read waits in vain, on a connection that stays open."""
    client.settimeout(0.2)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)


def test_pass_hands_on_both_ways(client: socket.socket, server: EchoServer) -> None:
    big = bytes(range(256)) * 4096
    assert echoed(client, big) == big
    assert server.heard == ECHO + big


def test_the_end_of_one_side_is_the_end_of_the_other(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""


def test_refuse_resets_what_is_open_and_takes_nothing_new(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(REFUSE)
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    proxy.set(PASS)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as again:
        assert echoed(again) == ECHO


def test_a_server_that_is_down_ends_the_connection(switchboard: Switchboard) -> None:
    with socket.socket() as held:  # bound, and nobody listens
        held.bind(("127.0.0.1", 0))
        proxy = switchboard.proxy(held.getsockname()[1])
        with pytest.raises(ConnectionResetError), socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.recv(1)


def test_blackhole_holds_everything_and_closes_nothing(proxy: Proxy, client: socket.socket, server: EchoServer) -> None:
    proxy.set(BLACKHOLE)
    client.sendall(b"held")
    assert nothing_comes(client)
    assert server.heard == ECHO
    proxy.set(PASS)
    assert client.recv(4) == b"held"


def test_half_open_is_heard_by_the_server_alone(proxy: Proxy, client: socket.socket, server: EchoServer) -> None:
    proxy.set(HALF_OPEN)
    client.sendall(b"heard")
    eventually(lambda: server.heard == ECHO + b"heard", 5)
    assert nothing_comes(client)
    proxy.set(PASS)
    assert client.recv(5) == b"heard"


def test_delay_makes_each_way_late_by_its_own(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(Weather(delay=0.1, jitter=0.05))
    begun_at = time.monotonic()
    assert echoed(client) == ECHO
    assert 0.1 <= time.monotonic() - begun_at < 1.0


def test_delay_holds_up_no_chunk_behind_another(proxy: Proxy, client: socket.socket) -> None:
    """A link is long, not narrow: what is sent at once arrives at once."""
    proxy.set(Weather(delay=0.1))
    begun_at = time.monotonic()
    for _ in range(20):
        client.sendall(b"x")
        time.sleep(0.005)
    received = 0
    while received < 20:
        received += len(client.recv(20))
    assert time.monotonic() - begun_at < 1.0


def test_throttle_lets_so_many_bytes_through_a_second(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(Weather(rate=400_000))
    data = bytes(200_000)
    begun_at = time.monotonic()
    sending = threading.Thread(target=client.sendall, args=(data,))
    sending.start()
    received = 0
    while received < len(data):
        received += len(client.recv(65_536))
    sending.join()
    assert 0.4 <= time.monotonic() - begun_at < 3.0


def test_resets_end_connections_by_chance(proxy: Proxy, client: socket.socket) -> None:
    proxy.set(Weather(resets=0.2))

    def go_on() -> None:
        for _ in range(200):
            echoed(client)

    with pytest.raises(ConnectionResetError):  # 0.8 ** 400: it cannot all pass
        go_on()


def test_cut_ends_what_is_open_once(proxy: Proxy, client: socket.socket) -> None:
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as again:
        assert echoed(again) == ECHO
