"""Logging of the long-running commands: timestamps, on stderr."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: str) -> None:
    """Log from ``level`` on.

    kafka-python tells of every connection and logs a traceback where one is cut; the engine says the same in one
    sentence, so its lines are for DEBUG alone.
    """
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)-7s %(message)s", force=True)
    if level != "DEBUG":
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
