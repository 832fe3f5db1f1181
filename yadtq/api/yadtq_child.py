"""One child of the process pool: it loads the task functions, then runs one task after the other until its worker is gone.

`launch` is the worker's side: how to start a child. `main` is the child's: it talks over the socket it was
given, and minds a signal that tells it to look into its control pipe.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import spawn
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from yadtq.api.yadtq_registry import build_functions
from yadtq.config import Settings, load_settings
from yadtq.core.yadtq_execution import Executor, TaskFunction
from yadtq.core.yadtq_pools import Slot
from yadtq.core.yadtq_processes import Job
from yadtq.core.yadtq_report import Told, capture
from yadtq.core.yadtq_task_process import STOP_SIGNAL, WISH, Launch
from yadtq.errors import ConfigError, TaskCancelled, TaskTimeout

MODULE = "yadtq.api.yadtq_child"
START = f"import json, sys; sys.path[:] = json.loads(sys.argv[1]); from {MODULE} import main; main()"
PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 0.25
WHOLE_WRITE = 4096  # bytes that a pipe takes at once or not at all (Linux; elsewhere less is sure)

in_child = threading.Event()  # set where this process is one


@dataclass(frozen=True)
class Load:
    """What a child is sent first."""

    main: dict[str, Any]  # how to find functions of the script that was started, for multiprocessing.spawn
    functions: bytes  # by name, each by module and name
    retries: dict[str, Any] = field(default_factory=dict)  # settings that judge an error
    log_level: int = logging.WARNING
    log_format: str | None = None


# -- the worker's side -------------------------------------------------------------------------------------------


def launch(functions: Mapping[str, TaskFunction], settings: Settings) -> Launch:
    """How to start children that know these functions.

    Raises:
        ConfigError: a function that another process cannot find by its name.
    """
    packed = pickle.dumps({name: _checked(name, function.function) for name, function in functions.items()})
    retries = {name: getattr(settings, name) for name in ("retries", "retry_backoff", "retry_backoff_max")}
    main = _started_script() if b"__main__" in packed else {}
    root = logging.getLogger()
    log_format = getattr(root.handlers[0].formatter, "_fmt", None) if root.handlers else None
    load = Load(main, packed, retries, root.level, log_format)
    path = [str(Path(entry).absolute()) for entry in sys.path]
    return Launch([sys.executable, "-c", START, json.dumps(path), str(os.getpid())], pickle.dumps(load))


def _checked(name: str, function: Any) -> Any:
    try:
        pickle.dumps(function)
    except Exception as error:  # whatever a callable's own __reduce__ raises
        raise ConfigError(
            f"task {name!r} cannot run in the process pool: a child process finds functions by module and name, and this one "
            f"has none to be found by (a lambda, or defined inside another function). Define it at the top of a module, or use pool='thread'"
        ) from error
    return function


def _started_script() -> dict[str, Any]:
    main = sys.modules["__main__"]
    if getattr(main, "__spec__", None) is not None and main.__spec__ is not None:
        return {"init_main_from_name": main.__spec__.name}
    if getattr(main, "__file__", None):
        return {"init_main_from_path": str(Path(str(main.__file__)).absolute())}
    raise ConfigError(
        "tasks typed into Python itself cannot run in the process pool: a child process cannot load them. "
        "Write them into a file, or use pool='thread'"
    )


# -- the child's side --------------------------------------------------------------------------------------------


class Line:
    """What a job tells goes to the worker word by word, each in one write: a crash or a signal in between loses none."""

    def __init__(self, pipe: int, number: int) -> None:
        self._pipe = pipe
        self._number = number

    def log(self, at: float, level: str, text: str) -> None:
        while len(word := self._word("log", at, level, text)) > WHOLE_WRITE:
            text = text[: len(text) * 3 // 4]
        self._send(word)

    def progress(self, at: float, done: float, total: float | None, note: str) -> None:
        self._send(self._word("progress", at, done, total, note))

    def _word(self, *values: object) -> bytes:
        return json.dumps([self._number, *values], ensure_ascii=False).encode(errors="replace") + b"\n"

    def _send(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # the worker is gone, and so will be this process
            os.write(self._pipe, word)


class ChildSlot(Slot[Job]):
    """The job of this process. A signal may come at any moment: no locks here."""

    def __init__(self, control: int, reports: int) -> None:
        super().__init__()
        self._control = control
        self._reports = reports
        self._wish: tuple[int, bool] | None = None  # the number of the job to be stopped, and whether it is cancelled

    def begin(self, run: Job, timeout: float | None) -> None:  # noqa: ARG002 -- the worker minds the time
        self.cancelled = False
        self.run = run
        self._stop_if_wanted()

    def end(self) -> None:
        self.run = None

    def telling(self) -> Told | None:
        run = self.run
        return None if run is None else Line(self._reports, run.number)

    def on_signal(self, _number: int, _frame: object) -> None:
        try:
            data = os.read(self._control, 65_536)
        except BlockingIOError:  # nothing is asked: somebody else's signal, or the one before brought both wishes
            return
        for start in range(0, len(data), WISH.size):
            self._wish = WISH.unpack_from(data, start)
        self._stop_if_wanted()

    def _stop_if_wanted(self) -> None:
        if self.run is None or self._wish is None or self._wish[0] != self.run.number:
            return
        self.cancelled = self._wish[1]
        self._wish = None
        raise TaskCancelled if self.cancelled else TaskTimeout


def main() -> None:
    """Serve one worker: ``sys.argv`` holds its pid and three file descriptors."""
    in_child.set()
    owner, talk, control, reports = map(int, sys.argv[2:6])
    sys.argv[1:] = []
    _die_with(owner)
    connection: Connection[Any, Any] = Connection(talk)
    slot = ChildSlot(control, reports)
    capture.others = slot
    capture.install()
    os.set_blocking(control, False)
    signal.signal(STOP_SIGNAL, slot.on_signal)
    for number in (signal.SIGTERM, signal.SIGINT):  # whoever signals all processes means the worker: it stops us
        signal.signal(number, partial(_heed_not, os.getpid()))  # no SIG_IGN: programs that tasks start would inherit it
    try:
        load: Load = pickle.loads(connection.recv_bytes())  # noqa: S301 -- from our own worker
        try:
            executor = _executor(load)
        except BaseException as error:  # noqa: BLE001 -- a user's module may raise anything
            connection.send_bytes(_refusal(error).encode())
            return
        connection.send_bytes(b"")
        _serve(connection, executor, slot)
    except (EOFError, OSError):
        return  # the worker wants no more of us


def _serve(connection: Connection[Any, Any], executor: Executor, slot: ChildSlot) -> None:
    while True:
        job: Job = pickle.loads(connection.recv_bytes())  # noqa: S301 -- from our own worker
        outcome = executor.outcome(job.task, job, slot)
        slot.end()
        connection.send_bytes(pickle.dumps(outcome))


def _executor(load: Load) -> Executor:
    if load.log_format is not None:
        logging.basicConfig(level=load.log_level, format=load.log_format)
    if load.main:
        spawn.prepare(load.main)
    functions = build_functions(pickle.loads(load.functions))  # noqa: S301 -- from our own worker
    return Executor(functions, load_settings({}, **load.retries), lambda _delivery: None)


def _refusal(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"the task functions cannot be loaded in a child process: {type(error).__name__}: {error}{place}"


def _heed_not(own: int, number: int, _frame: object) -> None:
    if os.getpid() != own:
        end_by(number)


def end_by(number: int) -> None:
    """In a process that a task has forked: it inherits the handler that calls this, and the signal is meant for itself."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _die_with(owner: int) -> None:
    """Be killed when the worker dies, also in the midst of a task."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_watch_parent, args=(owner,), name="yadtq-parent", daemon=True).start()
    if os.getppid() != owner:
        os._exit(1)  # it died before we asked


def _watch_parent(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
