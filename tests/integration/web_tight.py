"""The web application with limits that a test can reach."""

from __future__ import annotations

import os

LIMIT = 4

if "YADTQ_WEB_URL" in os.environ:  # under gunicorn, not where a test asks for the limit
    from webapp import create_app, sockets

    app = create_app()
    app.extensions["yadtq-slots"] = sockets.Slots(LIMIT)
