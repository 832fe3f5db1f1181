"""What people ask of one worker, obeyed: pause, resume, shut down, let go of a task's record."""

from __future__ import annotations

import logging
import threading

from yadtq.core.yadtq_claimer import Claimer
from yadtq.core.yadtq_intake import Intake
from yadtq.core.yadtq_lease import Lease

logger = logging.getLogger(__name__)


class Control:
    """Obeys the commands that the beat brings; each may come twice, which changes nothing."""

    def __init__(self, claimer: Claimer, intake: Intake, lease: Lease, name: str, stop: threading.Event) -> None:
        self._claimer = claimer
        self._intake = intake
        self._lease = lease
        self._name = name
        self._stop = stop

    def obey(self, command: str) -> None:
        """One command, as CONTROL takes it."""
        word, _, task_id = command.partition(":")
        if word == "detach":
            self._detach(task_id)
            return
        logger.info("worker %s was asked to %s", self._name, word)
        if word == "pause":
            self._claimer.pause()
        elif word == "resume":
            self._claimer.resume()
        elif word == "shutdown":
            self._claimer.stop()  # before the beat that says that it stops
            self._stop.set()
        else:
            logger.warning("worker %s does not know %r: a newer version asks for it", self._name, word)

    def _detach(self, task_id: str) -> None:
        """Row, envelope and reaper cover a run; its record is done once Redis has had its two seconds."""
        found = [one for one in list(self._lease.held.values()) if one.task is not None and one.task.id == task_id]
        runs = [delivery for delivery in found if delivery.claimed_at]
        if runs:
            logger.info("task %s runs on; its partition was asked to go on without it", task_id)
            self._lease.confirmed(runs)
        else:  # it runs elsewhere, and its record is here: the next answer to its claim tells
            self._intake.let_go(task_id)
