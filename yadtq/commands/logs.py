"""Logging of the long-running commands: timestamps, on stderr."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: str) -> None:
    """Log from ``level`` on."""
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)-7s %(message)s", force=True)
    logging.getLogger("kafka").setLevel(logging.NOTSET if level == "DEBUG" else logging.CRITICAL)


def quiet_kafka() -> None:
    """kafka-python tells of every connection and logs a traceback where one is cut; the engine says the same in one sentence."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
