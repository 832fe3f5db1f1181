"""The web as gunicorn runs it, whose browsers are gone as soon as a websocket has been opened."""

from __future__ import annotations

import socket

from webapp import create_app, sockets


class Gone(sockets.OneAtATime):
    """As simple-websocket's own thread leaves a socket on which the browser has hung up."""

    def __init__(self, sock: socket.socket) -> None:
        sock.close()
        super().__init__(sock)


sockets.OneAtATime = Gone  # type: ignore[misc]
app = create_app()
