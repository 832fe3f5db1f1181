"""The process pool: children that are reused, stopped, killed and replaced, and what their deaths cost."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from yadtq import ConfigError, TaskCancelled, TaskTimeout
from yadtq.api import yadtq_child
from yadtq.api.yadtq_registry import build_functions
from yadtq.config import load_settings
from yadtq.core.yadtq_delivery import Delivery, PartitionState
from yadtq.core.yadtq_execution import ChildExecutor
from yadtq.core.yadtq_pools import ThreadPool
from yadtq.core.yadtq_processes import ProcessPool, ProcessSlot
from yadtq.core.yadtq_report import capture
from yadtq.core.yadtq_task import Outcome, OutcomeKind, Reason, Task

WAIT = 20.0  # seconds; only a failing test waits so long
GRACE = 0.5

# -- tasks, found by the children under this module's name -------------------------------------------------------


def pid(*_args: Any) -> int:
    return os.getpid()


def context(ctx: Any) -> list[Any]:
    return [ctx.task_id, ctx.attempt, ctx.fence, ctx.cancelled]


def fail() -> None:
    raise ValueError("no")


def leave(code: int) -> None:
    os._exit(code)


def segfault() -> None:
    ctypes.string_at(0)


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def sleep(mark: str, seconds: float = 60.0) -> None:
    Path(mark).write_text(str(os.getpid()))
    time.sleep(seconds)


def tell_when_stopped(mark: str, ctx: Any) -> str:
    Path(mark).touch()
    try:
        time.sleep(60)
    except (TaskCancelled, TaskTimeout) as error:
        return f"{type(error).__name__} {ctx.cancelled}"
    return "slept"


def deaf(mark: str) -> None:
    """Blocks in C code, and heeds nothing that is raised."""
    Path(mark).touch()
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001
            continue


def fork_and_die(mark: str) -> None:
    """Its child process lives on and holds every open file."""
    if os.fork() == 0:
        Path(mark).write_text(str(os.getpid()))
        time.sleep(30)
        os._exit(0)
    eventually(Path(mark).exists)
    os._exit(3)


def wait_for_term(mark: str) -> str:
    Path(mark).write_text(str(os.getpid()))
    time.sleep(0.5)
    return "ended"


def answer(data: str) -> None:
    """Write on the line to the worker, as a task that mistakes its file number may."""
    (line,) = (thing for thing in gc.get_objects() if isinstance(thing, Connection))
    line.send_bytes(bytes.fromhex(data))
    time.sleep(60)


def tell(word: str, ctx: Any) -> str:
    """Write into the report pipe."""
    teller: Any = capture.others
    os.write(teller._reports, word.replace("NUMBER", str(teller.run.number)).encode() + b"\n")
    ctx.progress(1, 2)
    return "told"


def open_files() -> list[str]:
    return [str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()]


HANDLERS = [
    pid, context, fail, leave, segfault, die, sleep, tell_when_stopped, deaf, fork_and_die, wait_for_term, answer, tell,
    open_files,
]  # fmt: skip


class Bench:
    """A pool of children and the outcomes that come out of it."""

    def __init__(self, size: int) -> None:
        functions = build_functions({function.__name__: function for function in HANDLERS})
        settings = load_settings({}, retries=1)
        executor = ChildExecutor(functions, settings, self._ended)
        launch = yadtq_child.launch(functions, settings)
        self.pool: ProcessPool[Delivery] = ProcessPool(size, executor.execute, launch, GRACE)
        self.ended: list[Delivery] = []
        self._news = threading.Condition()
        self.pool.start()
        self.pool.wait_ready(lambda: False)

    def _ended(self, delivery: Delivery) -> None:
        with self._news:
            self.ended.append(delivery)
            self._news.notify_all()

    def begin(self, name: str, *args: Any, timeout: float | None = None, attempt: int = 1) -> Delivery:
        delivery = Delivery(PartitionState(("topic", 0), "default"), 0, None, b"", None, 0)
        delivery.task = Task(f"task-{name}", name, args, timeout=timeout)
        delivery.attempt, delivery.fence = attempt, 77
        self.pool.put(delivery)
        return delivery

    def outcome(self, delivery: Delivery) -> Outcome:
        with self._news:
            assert self._news.wait_for(lambda: delivery in self.ended, WAIT), "no outcome"
        assert delivery.outcome is not None
        return delivery.outcome

    def run(self, name: str, *args: Any, **options: Any) -> Outcome:
        return self.outcome(self.begin(name, *args, **options))


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench(1)
    yield made
    made.pool.stop()
    eventually(lambda: not any(thread.is_alive() for thread in made.pool._threads), WAIT)


@pytest.fixture
def pair() -> Iterator[Bench]:
    made = Bench(2)
    eventually(lambda: made.pool.capacity == 2, WAIT)
    yield made
    made.pool.stop()


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"


def test_a_child_runs_task_after_task(bench: Bench) -> None:
    pids = {bench.run("pid").result for _ in range(5)}
    assert len(pids) == 1
    assert pids != {str(os.getpid()).encode()}


def test_each_slot_has_a_child_of_its_own(pair: Bench, tmp_path: Path) -> None:
    one, two = (pair.begin("sleep", str(tmp_path / str(number)), 0.3) for number in range(2))
    pair.outcome(one)
    pair.outcome(two)
    pids = {(tmp_path / str(number)).read_text() for number in range(2)}
    assert len(pids) == 2


def test_the_context_is_there_in_the_child(bench: Bench) -> None:
    assert bench.run("context", attempt=2).result == b'["task-context",2,77,false]'


def test_an_error_comes_back_as_from_a_thread(bench: Bench) -> None:
    outcome = bench.run("fail")
    assert (outcome.kind, outcome.reason, outcome.error) == (OutcomeKind.RETRY, Reason.ERROR, "ValueError: no")
    assert "fail" in outcome.traceback
    assert bench.run("fail", attempt=2).kind is OutcomeKind.FAILED


def test_an_unknown_task_is_handed_back(bench: Bench) -> None:
    assert bench.run("resize").kind is OutcomeKind.HANDBACK


@pytest.mark.parametrize(
    ("name", "args", "how"),
    [
        ("leave", (7,), "its process ended with exit code 7"),
        ("segfault", (), "its process was killed by SIGSEGV"),
        ("die", (signal.SIGKILL,), "its process was killed by SIGKILL (out of memory?)"),
    ],
)
def test_a_task_that_kills_its_child_is_lost_and_its_neighbour_is_not(
    pair: Bench, tmp_path: Path, name: str, args: tuple[Any, ...], how: str
) -> None:
    mark = tmp_path / "neighbour"
    neighbour = pair.begin("sleep", str(mark), 1.0)
    eventually(mark.exists, WAIT)
    outcome = pair.run(name, *args)
    assert (outcome.kind, outcome.reason, outcome.error) == (OutcomeKind.LOST, Reason.WORKER_LOST, how)
    assert pair.outcome(neighbour).kind is OutcomeKind.SUCCESS
    assert {pair.run("pid").kind for _ in range(4)} == {OutcomeKind.SUCCESS}  # it was replaced


@pytest.mark.parametrize(
    ("data", "how"),
    [
        (b"rubbish", "UnpicklingError"),
        (b"", "EOFError"),
        (b"cno_such_module\nClass\n.", "ModuleNotFoundError"),
        (pickle.dumps("a word"), "'a word'"),
    ],
)
def test_a_bad_answer_costs_that_child_and_its_task_alone(pair: Bench, tmp_path: Path, data: bytes, how: str) -> None:
    mark = tmp_path / "neighbour"
    neighbour = pair.begin("sleep", str(mark), 1.0)
    eventually(mark.exists, WAIT)
    outcome = pair.run("answer", data.hex())
    assert (outcome.kind, outcome.reason) == (OutcomeKind.LOST, Reason.WORKER_LOST)
    assert outcome.error.startswith(f"its process gave an answer that cannot be read ({how}")
    assert pair.outcome(neighbour).kind is OutcomeKind.SUCCESS
    assert {pair.run("pid").kind for _ in range(4)} == {OutcomeKind.SUCCESS}  # it was replaced


@pytest.mark.parametrize(
    "word",
    [
        *(
            "",
            "no JSON",
            "3",
            "null",
            "{}",
            "[]",
            "[" * 3000,
            "[NUMBER]",
            '[NUMBER, "log"]',
            '[NUMBER, "log", 1, 2, 3]',
        ),
        *(
            '[NUMBER, "progress", "x", 1, 2, ""]',
            '[NUMBER, "dance", 1, "INFO", "x"]',
            '[[NUMBER], "log", 1, "INFO", ""]',
        ),
    ],
)
def test_a_word_that_nobody_understands_is_passed_over(bench: Bench, word: str) -> None:
    run = bench.begin("tell", word)
    assert bench.outcome(run).result == b'"told"'
    assert run.report is not None
    assert b'"said": 0' in run.report.to_json(1)  # no line, and the progress that came after


def test_a_child_that_dies_idle_costs_nobody_anything(bench: Bench) -> None:
    child = int(bench.run("pid").result)
    os.kill(child, signal.SIGKILL)
    eventually(lambda: gone(child), WAIT)
    after = bench.run("pid")
    assert after.kind is OutcomeKind.SUCCESS
    assert int(after.result) != child


def test_a_death_is_seen_although_what_the_child_left_behind_holds_the_line(bench: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "orphan"
    begun = time.monotonic()
    assert bench.run("fork_and_die", str(mark)).error == "its process ended with exit code 3"
    assert time.monotonic() - begun < 10
    os.kill(int(mark.read_text()), signal.SIGKILL)


def test_a_time_limit_is_raised_also_in_a_system_call(bench: Bench, tmp_path: Path) -> None:
    begun = time.monotonic()
    outcome = bench.run("sleep", str(tmp_path / "mark"), timeout=0.3)
    assert (outcome.kind, outcome.reason, outcome.error) == (OutcomeKind.RETRY, Reason.TIMEOUT, "ran longer than 0.3 s")
    assert time.monotonic() - begun < 0.3 + GRACE
    assert (tmp_path / "mark").read_text() == bench.run("pid").result.decode()  # the child lives on


def test_a_task_that_does_not_heed_its_time_limit_is_killed(bench: Bench, tmp_path: Path) -> None:
    outcome = bench.run("deaf", str(tmp_path / "mark"), timeout=0.2, attempt=2)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, Reason.TIMEOUT)
    assert outcome.error == "ran longer than 0.2 s; its process was killed"
    assert bench.run("pid").kind is OutcomeKind.SUCCESS


def test_a_cancel_is_raised_in_the_wanted_run_alone(pair: Bench, tmp_path: Path) -> None:
    wanted = pair.begin("tell_when_stopped", str(tmp_path / "wanted"))
    other = pair.begin("sleep", str(tmp_path / "other"), 1.0)
    eventually(lambda: (tmp_path / "wanted").exists() and (tmp_path / "other").exists(), WAIT)
    pair.pool.cancel(lambda delivery: delivery is wanted)
    assert pair.outcome(wanted).result == b'"TaskCancelled True"'
    assert pair.outcome(other).kind is OutcomeKind.SUCCESS


def test_a_stop_that_was_meant_for_another_job_is_not_heeded(bench: Bench, tmp_path: Path) -> None:
    """It was sent as that one ended, and came late."""
    mark = tmp_path / "mark"
    run = bench.begin("sleep", str(mark), 0.5)
    eventually(mark.exists, WAIT)
    child = bench.pool.slots[0].child
    assert child is not None
    child.tell(999, cancelled=True)
    assert bench.outcome(run).kind is OutcomeKind.SUCCESS


def test_a_task_that_does_not_heed_a_cancel_is_killed(bench: Bench, tmp_path: Path) -> None:
    run = bench.begin("deaf", str(tmp_path / "mark"))
    eventually((tmp_path / "mark").exists, WAIT)
    bench.pool.cancel(lambda _: True)
    outcome = bench.outcome(run)
    assert (outcome.kind, "was killed" in outcome.error) == (OutcomeKind.CANCELLED, True)


def test_what_is_abandoned_is_killed_and_has_no_outcome(bench: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    bench.begin("sleep", str(mark))
    eventually(lambda: mark.exists() and mark.read_text(), WAIT)
    bench.pool.abandon()
    eventually(lambda: gone(int(mark.read_text())), WAIT)
    eventually(lambda: not bench.pool._threads[0].is_alive(), WAIT)  # it starts no other child
    assert bench.pool.pids == []
    assert bench.ended == []


def test_the_terminals_and_the_supervisors_signals_are_for_the_worker_alone(bench: Bench, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    run = bench.begin("wait_for_term", str(mark))
    child = int(eventually(lambda: mark.exists() and mark.read_text(), WAIT))
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(child, number)
    assert bench.outcome(run).result == b'"ended"'


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_child_inherits_no_connection(tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), False)
        bench = Bench(1)
        names = bench.run("open_files").result.decode()
        bench.pool.stop()
    assert str(tmp_path / "held") not in names
    assert names.count("socket:") == 1  # the line to us


def test_children_die_with_their_worker(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    code = (
        "import sys; from tests.unit.test_processes import Bench; bench = Bench(1); "
        f"bench.begin('sleep', {str(mark)!r}); import time; time.sleep(60)"
    )
    worker = subprocess.Popen([sys.executable, "-c", code])
    child = int(eventually(lambda: mark.exists() and mark.read_text(), WAIT))
    worker.kill()
    worker.wait()
    eventually(lambda: gone(child), WAIT)


# -- functions that a child cannot have --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lambda", "closure"])
def test_a_function_without_a_name_to_be_found_by_is_refused(kind: str) -> None:
    def inner() -> None: ...

    function: Callable[..., Any] = (lambda: 1) if kind == "lambda" else inner
    with pytest.raises(ConfigError, match=r"task 'f' cannot run in the process pool.*pool='thread'"):
        yadtq_child.launch(build_functions({"f": function}), load_settings({}))


def test_a_module_that_loads_only_here_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("only_here")
    exec("def f(): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    functions = build_functions({"f": module.f})
    pool: ProcessPool[Delivery] = ProcessPool(1, print, yadtq_child.launch(functions, load_settings({})), GRACE)
    pool.start()
    with pytest.raises(ConfigError, match=r"cannot be loaded in a child process: ModuleNotFoundError.*only_here"):
        pool.wait_ready(lambda: False)
    pool.stop()


SCRIPT = """
from yadtq.api import yadtq_child
from yadtq.api.yadtq_registry import build_functions
from yadtq.config import load_settings
from yadtq.core.yadtq_task_process import Child

def f(): return 1

{guard}
    try:
        child = Child(yadtq_child.launch(build_functions([f]), load_settings({{}})))
        child.load()
        child.close()
        print("loaded")
    except Exception as error:
        print(error)
"""


def test_functions_of_the_script_itself_are_found(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(guard="if __name__ == '__main__':"))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("loaded\n", "")


def test_functions_typed_into_python_are_refused() -> None:
    code = SCRIPT.format(guard="if True:")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "typed into Python itself" in done.stdout


def test_a_signal_of_somebody_else_does_no_harm(bench: Bench) -> None:
    assert bench.run("die", yadtq_child.STOP_SIGNAL).kind is OutcomeKind.SUCCESS


def test_a_child_that_is_taken_away_while_it_is_looked_at_does_no_harm() -> None:
    slot: ProcessSlot[str] = ProcessSlot()
    hung_up = []

    class Dead:
        @property
        def alive(self) -> bool:
            slot.child = None
            return False

        def hang_up(self) -> None:
            hung_up.append(self)

    dead: Any = Dead()
    slot.child = dead
    pool: ProcessPool[str] = ProcessPool(1, lambda _run, _slot: None, yadtq_child.launch({}, load_settings({})), GRACE)
    pool._look_after(slot, "run", time.monotonic())
    assert hung_up == [dead]


# -- threads that hang -------------------------------------------------------------------------------------------


class Hung:
    """Runs that hang until they are freed, whatever is raised in them."""

    def __init__(self, size: int) -> None:
        self.free = threading.Event()
        self.given_up: list[int] = []
        self.done: list[int] = []
        self.pool: ThreadPool[int] = ThreadPool(
            size, self._execute, lambda run, _slot: self.given_up.append(run), grace=0.1
        )
        self.pool.start()

    def _execute(self, run: int, slot: Any) -> None:
        slot.begin(run, 0.1 if run < 100 else None)
        while run < 100 and not self.free.is_set():
            try:
                self.free.wait()
            except TaskTimeout:
                continue
        slot.end()
        if not slot.dropped:
            self.done.append(run)


@pytest.fixture
def hung() -> Iterator[Hung]:
    made = Hung(2)
    yield made
    made.free.set()
    made.pool.stop()
    for thread in made.pool._threads:
        thread.join(WAIT)


def test_a_hung_thread_is_given_up_and_replaced(hung: Hung) -> None:
    for run in range(2):
        hung.pool.put(run)
    eventually(lambda: len(hung.given_up) == 2)
    assert (hung.pool.stuck, hung.pool.capacity, hung.pool.running()) == (2, 2, [])
    hung.pool.put(100)
    eventually(lambda: hung.done == [100])


def test_replacements_are_bounded_and_a_thread_that_returns_serves_again(hung: Hung) -> None:
    for run in range(3):
        hung.pool.put(run)
    eventually(lambda: len(hung.given_up) == 3)
    assert (hung.pool.stuck, hung.pool.capacity) == (3, 1)
    hung.free.set()
    eventually(lambda: hung.pool.stuck == 0)
    eventually(lambda: hung.pool.capacity == 2)
    hung.pool.put(100)
    eventually(lambda: hung.done == [100])  # and what the hung ones returned was dropped
