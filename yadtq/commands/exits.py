"""Exit codes of ``yadtq``, and which error ends with which."""

from __future__ import annotations

from enum import IntEnum

from yadtq.errors import ConfigError, InvalidName, ResultTimeout, ServerError, YadtqError


class Exit(IntEnum):
    """What a script may rely on; the same table is printed by ``yadtq --help``."""

    OK = 0
    NO = 1
    USAGE = 2
    SERVER = 3
    STILL_RUNNING = 4
    INTERRUPTED = 130


EPILOG = """\b
Exit codes:
  0    done
  1    the answer is no: the task failed or is unknown, its state does not
       allow the move, a check of doctor failed, a server did not start, a
       worker could not go on
  2    the command line or a setting is wrong
  3    Kafka or Redis cannot be reached
  4    submit --wait: the task has not ended in time, and goes on
  130  interrupted with Ctrl-C

\b
Every setting can be given as YADTQ_NAME in the environment; --kafka and
--redis win over it. Reading commands take --json.
"""

_CODES: dict[type[YadtqError], Exit] = {
    ConfigError: Exit.USAGE,
    InvalidName: Exit.USAGE,
    ServerError: Exit.SERVER,
    ResultTimeout: Exit.STILL_RUNNING,
}


def exit_code(error: YadtqError) -> Exit:
    """The code a command ends with when this error stops it."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), Exit.NO)
