"""Gunicorn and a worker as processes of their own, and how a browser signs in to them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.helpers import eventually
from yadtq import TaskClient, create_yadtq
from yadtq.core.yadtq_accounts import Accounts
from yadtq.core.yadtq_views import Views

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """One web, at most one worker, and a client, sharing names that nobody else has."""

    def __init__(self, settings: dict[str, Any], app: str = "wsgi:app", log: Path | None = None, **web: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings
        self.broker, self.store = create_yadtq(**settings)
        self.client = TaskClient(self.broker, self.store)
        self.views, self.accounts = Views(self.store), Accounts(self.store)
        self._environment = {**os.environ, **_as_environment(settings), **web}
        self._environment |= {"YADTQ_WEB_PORT": str(self.port), "YADTQ_WEB_URL": self.url}
        self._log = log  # where the processes write, if not where the tests do
        self._processes: list[subprocess.Popen[bytes]] = []
        self.web = self._start("gunicorn", "-c", "gunicorn.conf.py", app)
        eventually(self._ready, 60)

    def start_worker(self) -> None:
        """A worker process that announces this folder's tasks."""
        self._start("yadtq.cli", "worker", "tests.integration.web_tasks")
        eventually(self.views.functions, 30)

    def sign_in(self, browser: Browser, role: str = "admin", **context: Any) -> Page:
        """A page of a new context, signed in by a one-time link."""
        page = browser.new_context(**context).new_page()
        page.goto(f"{self.url}/login?token={self.accounts.create_login_link('ada', role)}")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{self.url}/")
        return page

    def reload(self) -> None:
        """Ask gunicorn for new worker processes."""
        self.web.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """End the processes, the web last."""
        self.client.close()
        for process in reversed(self._processes):
            process.terminate()
            process.wait(30)
        self.broker.close()
        self.store.close()

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *arguments]
        with self._log.open("ab") if self._log else nullcontext() as out:
            process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=out, stderr=out)
        self._processes.append(process)
        return process

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False


def _as_environment(settings: dict[str, Any]) -> dict[str, str]:
    as_text = {
        name: ",".join(value) if isinstance(value, (list, tuple)) else str(value) for name, value in settings.items()
    }
    return {f"YADTQ_{name.upper()}": text for name, text in as_text.items()}
