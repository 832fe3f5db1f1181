"""A browser on one live page, without its pixels: reads the page, hears the socket, keeps the table as app.js does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from dataclasses import dataclass, field
from urllib.parse import urlencode

import aiohttp

ROW = re.compile(r'<tr id="t-([^"]+)"[^>]*? data-rev="(\d+)" data-status="(\w+)"')
MARK = re.compile(r'data-seq="(\d*)" data-epoch="([^"]*)"')

AT_ONCE, ROWS_MAX = 20, 200  # more new rows, or more rows in all, are not put in: "N new – show"

Rows = dict[str, tuple[int, str]]  # id -> change, status


@dataclass
class Log:
    """What all readers of a crowd met."""

    closed: list[tuple[float, int]] = field(default_factory=list)  # when (monotonic), and by which code
    refused: int = 0  # handshakes
    pages: list[float] = field(default_factory=list)  # seconds that each reading took
    failed: list[str] = field(default_factory=list)  # what readings got in place of their page


class Reader:
    """One page; ``run`` it as a task."""

    def __init__(self, http: aiohttp.ClientSession, path: str, view: str, log: Log, chance: random.Random) -> None:
        self.http, self.path, self.view, self.log, self.chance = http, path, view, log, chance
        self.rows: Rows = {}
        self.waiting: set[str] = set()  # new tasks that are not put in, as nobody clicks on "N new – show"
        self.live = False
        self.seq, self.epoch = 0, ""
        self._wanted = ""
        self._later: asyncio.Task[None] | None = None
        self._later_whole = False
        self._told: Rows = {}
        self._shown: list[str] = []
        self._shown_at = 0.0  # monotonic

    async def run(self) -> None:
        await self._read(whole=True)
        read_at = time.monotonic()
        while True:
            code = await self._listen()
            self.live = False
            await asyncio.sleep(self.chance.uniform(0.2, 2) if code == 1012 else self.chance.uniform(0.5, 3))
            if time.monotonic() - read_at > 2:  # polling, as long as no socket is to be had
                await self._read(whole=True)
                read_at = time.monotonic()

    async def _listen(self) -> int:
        query = urlencode({"view": self.view, "since": self.seq, "epoch": self.epoch})
        try:
            async with self.http.ws_connect(f"/ws?{query}", compress=0, heartbeat=None) as socket:
                self._shown, self._shown_at = [], 0.0
                await self._show(socket)
                return await self._hear(socket)
        except aiohttp.WSServerHandshakeError:
            self.log.refused += 1
        except (aiohttp.ClientError, OSError):
            pass  # no server just now
        return 1006

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> int:
        while True:
            try:
                message = await socket.receive(timeout=1.0)
            except asyncio.TimeoutError:
                await self._show(socket)
                continue
            if message.type != aiohttp.WSMsgType.TEXT:
                if self.live:
                    self.log.closed.append((time.monotonic(), socket.close_code or 1006))
                return socket.close_code or 1006
            self.live = True
            self._take(json.loads(message.data))
            await self._show(socket)

    async def _show(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Tell which rows it shows, as app.js does once a second where they have changed."""
        ids = sorted(self.rows)
        if self.view == "tasks" and ids != self._shown and time.monotonic() - self._shown_at >= 1:
            self._shown, self._shown_at = ids, time.monotonic()
            with contextlib.suppress(aiohttp.ClientConnectionResetError):  # closed: how, is still to be read
                await socket.send_str(json.dumps({"shows": ids, "new": True}))

    def _take(self, message: dict[str, object]) -> None:
        if message["t"] == "rows":
            items = message["items"]
            assert isinstance(items, list)
            found = {row[1]: (int(row[2]), row[3]) for item in items if (row := ROW.match(item["html"])) is not None}
            assert len(found) == len(items)
            self._told |= found
            self._patch(found)
            for gone in message.get("gone", []):  # type: ignore[attr-defined]
                self.rows.pop(gone, None)
            self.seq = int(str(message.get("seq", self.seq)))
            if message.get("more"):
                self._read_soon(1.0, whole=False)
        elif message["t"] in ("refresh", "resync"):
            self._wanted = f"{message['epoch']} {message['seq']}"
            self._read_soon(0.0, whole=message["t"] == "resync")

    def _patch(self, found: Rows) -> None:
        new = found.keys() - self.rows.keys()
        if self.waiting or len(new) > AT_ONCE or len(self.rows) + len(new) > ROWS_MAX:
            self.waiting |= new
        for task_id, row in found.items():
            if task_id not in self.waiting and row[0] > self.rows.get(task_id, (0, ""))[0]:
                self.rows[task_id] = row

    def _read_soon(self, least: float, *, whole: bool) -> None:
        self._later_whole |= whole
        if self._later is None:
            self._later = asyncio.create_task(self._read_after(least + self.chance.uniform(0, 0.15)))

    async def _read_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._later = None
        whole, self._later_whole = self._later_whole, False
        if not await self._read(whole=whole):
            self._read_soon(2.0, whole=whole)

    async def _read(self, *, whole: bool) -> bool:
        self._told = {}
        headers = {"Live-Mark": self._wanted or f"{self.epoch} {self.seq}"}
        text = await self.get(self.path, headers)
        if text is None:
            return False
        mark = MARK.search(text)
        assert mark is not None
        self.seq, self.epoch = int(mark[1] or 0), mark[2]
        found = {task_id: (int(rev), status) for task_id, rev, status in ROW.findall(text)}
        if whole:
            self.rows, self.waiting = found, set()
            self._patch(self._told)
        else:
            self._patch(found)
        return True

    async def get(self, path: str, headers: dict[str, str] | None = None) -> str | None:
        """A page's text; None where it cannot be had just now."""
        began = time.monotonic()
        try:
            async with self.http.get(path, headers=headers, timeout=aiohttp.ClientTimeout(30)) as answer:
                text = await answer.text()
                self.log.pages.append(time.monotonic() - began)
                if answer.status == 200:
                    return text
                self.log.failed.append(str(answer.status))
        except asyncio.TimeoutError:
            self.log.failed.append("no answer")
        except aiohttp.ClientConnectorError:
            self.log.failed.append("refused")
        except (aiohttp.ClientError, OSError):
            self.log.failed.append("cut off")
        return None
