"""The web application of the fault test, which also tells of its own threads and sockets."""

from __future__ import annotations

import os
import threading
from typing import Any

from webapp import access, create_app

app = create_app()
access.OPEN |= {"inside"}


@app.get("/inside", endpoint="inside")
def inside() -> dict[str, Any]:
    """This process: its sockets, and its threads but for those that gunicorn keeps for requests."""
    names = sorted(thread.name for thread in threading.enumerate())
    others = [name for name in names if not name.startswith("ThreadPoolExecutor")]
    return {"pid": os.getpid(), "sockets": app.extensions["yadtq-slots"].taken, "threads": others}
