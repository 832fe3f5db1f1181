"""A hundred readers at once, and those who mean no good: browsers that do not read, that flood, that come from elsewhere."""

from __future__ import annotations

import asyncio
import random
import select
import socket
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import aiohttp

from tests.faults.web_reader import Log, Reader

Answer = TypeVar("Answer")


class Crowd:
    """Readers in an event loop of their own thread."""

    def __init__(self, url: str, cookie: str, seed: int) -> None:
        self.log = Log()
        self.readers: list[Reader] = []
        self.probes: list[float] = []  # seconds that pages took, opened one after another as a person would
        self._url, self._chance = url, random.Random(seed)
        self._headers = {"Cookie": cookie, "Origin": url}
        self._tasks: list[Future[Any]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="crowd", daemon=True)
        self._thread.start()
        self._http = self.call(self._open())

    def call(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Have it done in the crowd's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0)
        return aiohttp.ClientSession(
            self._url, headers=self._headers, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )

    def join(self, count: int, path: str, view: str) -> None:
        """So many more pages are opened."""
        for _ in range(count):
            reader = Reader(self._http, path, view, self.log, self._chance)
            self.readers.append(reader)
            self._tasks.append(asyncio.run_coroutine_threadsafe(reader.run(), self._loop))

    def probe(self, *paths: str) -> None:
        """From now on somebody opens these pages, one after another."""
        self._tasks.append(asyncio.run_coroutine_threadsafe(self._probe(paths), self._loop))

    async def _probe(self, paths: tuple[str, ...]) -> None:
        log = Log(pages=self.probes, failed=self.log.failed)
        reader = Reader(self._http, "", "", log, self._chance)
        while True:
            for path in paths:
                await reader.get(path)
                await asyncio.sleep(0.2)

    def flood(self, count: int) -> list[Future[int]]:
        """So many browsers send as fast as they can; the codes by which they are put out."""
        return [asyncio.run_coroutine_threadsafe(self._flood(), self._loop) for _ in range(count)]

    async def _flood(self) -> int:
        async with await self._let_in() as line:
            try:
                while line.close_code is None:
                    for _ in range(20):
                        await line.send_str("x" * 15_000)
                    message = await asyncio.wait_for(line.receive(), 0.01)
                    while message.type is aiohttp.WSMsgType.TEXT:
                        message = await asyncio.wait_for(line.receive(), 0.01)
            except asyncio.TimeoutError:
                pass
            except (aiohttp.ClientError, OSError):
                return line.close_code or 1006
            while line.close_code is None:
                if (await line.receive(timeout=60)).type is not aiohttp.WSMsgType.TEXT:
                    break
            return line.close_code or 1006

    async def _let_in(self) -> aiohttp.ClientWebSocketResponse:
        """A socket; the process that answers first may have no place left."""
        while True:
            try:
                return await self._http.ws_connect("/ws?view=tasks", compress=0)
            except aiohttp.WSServerHandshakeError as refusal:
                if refusal.status != 503:
                    raise
                await asyncio.sleep(0.1)

    @property
    def live(self) -> int:
        """Pages whose socket is open and has been heard."""
        return sum(reader.live for reader in self.readers)

    def failures(self) -> list[BaseException]:
        """What ended a reader that should have gone on."""
        return [task.exception() for task in self._tasks if task.done() and task.exception() is not None]  # type: ignore[misc]

    def close(self) -> None:
        """All pages are closed."""
        if not self._loop.is_closed():
            self.call(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(20)
            self._loop.close()

    async def _end(self) -> None:
        mine = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not mine]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._http.close()
        await asyncio.sleep(0.1)  # for the transports to close


class Deaf:
    """A websocket on the list of all tasks, with a small buffer that nobody reads."""

    def __init__(self, port: int, cookie: str, origin: str) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", port))
        self.status = handshake(self.socket, port, cookie, origin)

    def cut(self, within: float) -> bool:
        """Whether the server has cut the line, or does so in time."""
        poll = select.poll()
        poll.register(self.socket, select.POLLHUP | select.POLLERR)
        return bool(poll.poll(within * 1000))

    def close(self) -> None:
        self.socket.close()


def handshake(line: socket.socket, port: int, cookie: str, origin: str) -> int:
    """Ask for a websocket; the status of the answer."""
    lines = [
        "GET /ws?view=tasks HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Cookie: {cookie}",
        f"Origin: {origin}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return int(line.recv(64).split(b" ")[1])
