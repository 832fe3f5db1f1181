"""TCP proxies before the servers, whose links a test breaks in the ways that networks break."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

CHUNK = 65_536  # bytes read at once
MAX_IN_FLIGHT = 64  # chunks of one direction that a slow link holds
LOOPBACK = "127.0.0.1"

_Chunks = asyncio.Queue[tuple[float, bytes]]


@dataclass(frozen=True)
class Weather:
    """How a link behaves; what is not named is as on a good day."""

    refuses: bool = False  # new connections are refused, present ones are reset
    requests_pass: bool = True
    replies_pass: bool = True
    delay: float = 0.0  # seconds each chunk is late, one way
    jitter: float = 0.0  # seconds more or less than that
    rate: float = math.inf  # bytes a second, each way
    resets: float = 0.0  # chance that a chunk ends its connection with a reset


PASS = Weather()
REFUSE = Weather(refuses=True)
BLACKHOLE = Weather(requests_pass=False, replies_pass=False)  # nothing arrives, nothing is closed
HALF_OPEN = Weather(replies_pass=False)  # the server hears, and is not heard


class Proxy:
    """One listening port before one server; made by :class:`Switchboard`."""

    def __init__(self, target: int, seed: int, on_loop: Callable[[Awaitable[None]], None]) -> None:
        self.target = target
        self.weather = PASS
        self._on_loop = on_loop
        self._random = random.Random(seed)
        self._changed = asyncio.Event()  # the weather has changed: look again
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._placeholder = _bound(0)  # keeps the port while nobody listens
        self.port: int = self._placeholder.getsockname()[1]

    def set(self, weather: Weather) -> None:
        """Change the link's weather, also for connections that are open; returns when it has changed."""
        self._on_loop(self._set(weather))

    def cut(self) -> None:
        """Reset every open connection, once; new ones are taken as before."""
        self._on_loop(self._cut())

    def reseed(self, seed: int) -> None:
        """Begin its chances anew."""
        self._random.seed(seed)

    async def _set(self, weather: Weather) -> None:
        self.weather = weather
        self._changed.set()
        self._changed = asyncio.Event()
        if weather.refuses:
            await self.close()
            self._placeholder = _bound(self.port)
        elif self._server is None:
            await self.open()

    async def _cut(self) -> None:
        for writer in self._writers:
            _reset(writer)

    async def open(self) -> None:
        self._placeholder.close()
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        await self._cut()
        self._placeholder.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:  # the server is down: the client sees its connection end at once
            _reset(writer)
            return
        pair = (writer, server_writer)
        self._writers.update(pair)
        there: _Chunks = asyncio.Queue(MAX_IN_FLIGHT)
        back: _Chunks = asyncio.Queue(MAX_IN_FLIGHT)
        # Reading and delivering apart, so that a reset on the way is felt at once, and not with the next chunk.
        tasks = [
            asyncio.create_task(self._read(reader, there)),
            asyncio.create_task(self._deliver(there, server_writer, lambda: self.weather.requests_pass)),
            asyncio.create_task(self._read(server_reader, back)),
            asyncio.create_task(self._deliver(back, writer, lambda: self.weather.replies_pass)),
        ]
        try:
            await asyncio.gather(*tasks)
        except OSError:  # one side reset its connection: so is the other one's
            for each in pair:
                _reset(each)
        finally:
            for task in tasks:
                task.cancel()
            self._writers.difference_update(pair)
            for each in pair:
                each.close()

    async def _read(self, reader: asyncio.StreamReader, chunks: _Chunks) -> None:
        """Stamp each chunk with the time it is to arrive; an empty one is the end."""
        loop = asyncio.get_running_loop()
        while data := await reader.read(CHUNK):
            late = self.weather.delay + self.weather.jitter * self._random.uniform(-1, 1)
            await chunks.put((loop.time() + max(0.0, late), data))
        await chunks.put((loop.time(), b""))

    async def _deliver(self, chunks: _Chunks, writer: asyncio.StreamWriter, may_pass: Callable[[], bool]) -> None:
        """Let each chunk go when its time has come, one after the other."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await chunks.get()
            await asyncio.sleep(due - loop.time())
            while not may_pass():
                await self._changed.wait()
            if not data:
                with contextlib.suppress(OSError):  # it has gone as well
                    writer.write_eof()
                return
            if self.weather.resets and self._random.random() < self.weather.resets:
                raise ConnectionResetError("by the weather")
            writer.write(data)
            await writer.drain()
            if self.weather.rate < math.inf:
                await asyncio.sleep(len(data) / self.weather.rate)


class Switchboard:
    """Runs the proxies, on one event loop in a thread of its own."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="switchboard", daemon=True)
        self.proxies: list[Proxy] = []

    def proxy(self, target: int = 0) -> Proxy:
        """A new proxy that is open; its ``target`` port may also be set later."""
        proxy = Proxy(target, self._seed + len(self.proxies), self._on_loop)
        self._on_loop(proxy.open())
        self.proxies.append(proxy)
        return proxy

    def __enter__(self) -> Switchboard:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for proxy in self.proxies:
            self._on_loop(proxy.close())
        self._on_loop(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _on_loop(self, step: Awaitable[None]) -> None:
        async def take() -> None:
            await step

        asyncio.run_coroutine_threadsafe(take(), self._loop).result(10)


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _bound(port: int) -> socket.socket:
    """A socket that holds a port without listening: whoever connects is refused."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((LOOPBACK, port))
    return held


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, as a broken host does."""
    inner = writer.get_extra_info("socket")
    if inner is not None and inner.fileno() >= 0:
        inner.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
