"""Logging of the long-running commands: timestamps, on stderr."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: str) -> None:
    """Log from ``level`` on; kafka-python tells of every connection it opens, so of it only what is wrong."""
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)-7s %(message)s", force=True
    )
    if level != "DEBUG":
        logging.getLogger("kafka").setLevel(logging.ERROR)
