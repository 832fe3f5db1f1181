"""The web with a fault in every socket, once it is open."""

from __future__ import annotations

from typing import Any

from webapp import create_app, sockets


def _fail(*_: Any) -> None:
    raise RuntimeError("a fault in the handler of a socket")


sockets._converse = _fail
app = create_app()
