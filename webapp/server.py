"""How gunicorn serves the web: ``gunicorn -c python:webapp.server "webapp:create_app()"``."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

from webapp.engine import open_engine
from webapp.exposure import check_exposure, secret_key
from webapp.live import shutting_down
from yadtq.errors import ConfigError

_THREADS = 96  # a socket takes one; webapp.sockets leaves 24 of them to pages


def _checked_bind() -> str:
    """The address to listen on, once the settings hold; else one sentence and no start."""
    try:
        engine = open_engine(None, {})
        check_exposure(engine)
    except ConfigError as error:
        sys.exit(f"The web cannot start: {error}")
    # Forked processes inherit it, so they agree also when Redis is away just now.
    os.environ["YADTQ_SECRET_KEY"] = secret_key(engine)
    return f"{engine.settings.web_host}:{engine.settings.web_port}"


def post_worker_init(worker: Any) -> None:
    """Tell the sockets first when the process is to end; gunicorn alone would cut them without a word."""
    end = signal.getsignal(signal.SIGTERM)

    def close_sockets(number: int, frame: FrameType | None) -> None:
        shutting_down.set()
        if callable(end):
            end(number, frame)

    signal.signal(signal.SIGTERM, close_sockets)
    del worker


bind = _checked_bind()
worker_class = "gthread"
workers = 2
threads = _THREADS
timeout = 30
graceful_timeout = 10
keepalive = 5
max_requests = 0  # a worker that retires would drop its sockets without a close frame
control_socket_disable = True
