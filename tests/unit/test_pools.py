"""The thread pool: order, stops from outside, and that a stop that comes too late does no harm."""

from __future__ import annotations

import importlib
import itertools
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Gate, eventually
from yadtq import TaskCancelled, TaskTimeout
from yadtq.core import yadtq_pools
from yadtq.core.yadtq_pools import Slot, ThreadPool, may_be_stopped

WAIT = 10.0  # seconds; only a failing test waits so long

Work = Callable[[Slot[Any]], Any]


class Job:
    """One run: what it does, and how it ended."""

    def __init__(self, work: Work, timeout: float | None = None) -> None:
        self.work = work
        self.timeout = timeout
        self.gate = Gate()
        self.ended = threading.Event()
        self.outcome: Any = None


def execute(job: Job, slot: Slot[Job]) -> None:
    """As yadtq_execution does it: everything that is raised becomes an outcome."""
    try:
        slot.begin(job, job.timeout)
        try:
            job.outcome = job.work(slot)
        finally:
            slot.end()
    except BaseException as error:  # noqa: BLE001
        job.outcome = type(error)
    job.ended.set()


def give_up(job: Job, _slot: Slot[Job]) -> None:
    job.outcome = "given up"
    job.ended.set()


@pytest.fixture
def make_pool() -> Iterator[Callable[[int], ThreadPool[Job]]]:
    pools: list[ThreadPool[Job]] = []

    def make(size: int) -> ThreadPool[Job]:
        pool: ThreadPool[Job] = ThreadPool(size, execute, give_up, grace=10.0)
        pools.append(pool)
        pool.start()
        return pool

    yield make
    for pool in pools:
        pool.stop()
        for thread in pool._threads:
            thread.join(WAIT)
        assert not any(thread.is_alive() for thread in pool._threads)


def held(timeout: float | None = None) -> Job:
    """A job that runs until its gate is opened or an error is raised in it."""
    job = Job(lambda _slot: job.gate.wait(), timeout)
    return job


MakePool = Callable[[int], ThreadPool[Job]]


def test_runs_start_in_the_order_they_were_put(make_pool: MakePool) -> None:
    order: list[int] = []
    jobs = [Job(lambda _slot, n=n: order.append(n)) for n in range(50)]  # type: ignore[misc]
    pool = make_pool(1)
    for job in jobs:
        pool.put(job)
    assert all(job.ended.wait(WAIT) for job in jobs)
    assert order == list(range(50))


def test_as_many_run_at_once_as_there_are_slots(make_pool: MakePool) -> None:
    pool, jobs = make_pool(3), [held() for _ in range(5)]
    for job in jobs:
        pool.put(job)
    assert all(job.gate.reached.wait(WAIT) for job in jobs[:3])
    assert not jobs[3].gate.reached.wait(0.05)
    assert set(pool.running()) == set(jobs[:3])
    jobs[1].gate.opened.set()
    assert jobs[3].gate.reached.wait(WAIT)
    for job in jobs:
        job.gate.opened.set()
    assert all(job.ended.wait(WAIT) for job in jobs)
    eventually(lambda: not pool.running())


def test_what_has_not_begun_can_be_taken_back(make_pool: MakePool) -> None:
    pool, jobs = make_pool(1), [held() for _ in range(4)]
    for job in jobs:
        pool.put(job)
    assert jobs[0].gate.reached.wait(WAIT)
    assert pool.take_unbegun() == jobs[1:]
    assert pool.take_unbegun() == []
    jobs[0].gate.opened.set()
    assert jobs[0].ended.wait(WAIT)
    assert not jobs[1].gate.reached.is_set()


def test_what_was_taken_back_may_be_put_again(make_pool: MakePool) -> None:
    pool, first, second = make_pool(1), held(), Job(lambda _slot: "ran")
    pool.put(first)
    assert first.gate.reached.wait(WAIT)
    pool.put(second)
    for job in pool.take_unbegun():
        pool.put(job)
    first.gate.opened.set()
    assert second.ended.wait(WAIT)
    assert second.outcome == "ran"


def test_a_cancel_is_raised_in_the_wanted_run_alone(make_pool: MakePool) -> None:
    pool, wanted, other = make_pool(2), held(), held()
    pool.put(wanted)
    pool.put(other)
    assert wanted.gate.reached.wait(WAIT)
    assert other.gate.reached.wait(WAIT)
    pool.cancel(lambda job: job is wanted)
    assert wanted.ended.wait(WAIT)
    assert wanted.outcome is TaskCancelled
    assert not other.ended.is_set()
    other.gate.opened.set()
    assert other.ended.wait(WAIT)
    assert other.outcome is None


def test_a_cancelled_run_can_see_that_it_was(make_pool: MakePool) -> None:
    seen: list[bool] = []

    def work(slot: Slot[Job]) -> None:
        seen.append(slot.cancelled)
        try:
            job.gate.wait()
        except TaskCancelled:
            seen.append(slot.cancelled)

    pool, job, after = make_pool(1), Job(work), Job(lambda slot: slot.cancelled)
    pool.put(job)
    assert job.gate.reached.wait(WAIT)
    pool.cancel(lambda _job: True)
    assert job.ended.wait(WAIT)
    pool.put(after)
    assert after.ended.wait(WAIT)
    assert seen == [False, True]
    assert after.outcome is False  # the next run on this slot knows nothing of it


def test_a_time_limit_is_raised_in_the_run(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yadtq_pools, "WATCH_EVERY", 0.01)
    pool, slow, unlimited = make_pool(2), held(timeout=0.05), held()
    begun = time.monotonic()
    pool.put(slow)
    pool.put(unlimited)
    assert slow.ended.wait(WAIT)
    assert slow.outcome is TaskTimeout
    assert time.monotonic() - begun >= 0.05
    assert not unlimited.ended.is_set()
    unlimited.gate.opened.set()
    assert unlimited.ended.wait(WAIT)


def test_one_error_a_run_is_enough(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that cleans up after one stop is not stopped in the midst of that by another."""
    monkeypatch.setattr(yadtq_pools, "WATCH_EVERY", 0.01)
    caught, cleaned = threading.Event(), threading.Event()

    def work(_slot: Slot[Job]) -> str:
        try:
            job.gate.wait()
        except TaskTimeout:
            caught.set()
            while not cleaned.wait(0.01):
                pass
        return "cleaned up"

    pool, job = make_pool(1), Job(work, timeout=0.02)
    pool.put(job)
    assert caught.wait(WAIT)
    for _ in range(5):
        pool.cancel(lambda _job: True)
        time.sleep(0.02)
    cleaned.set()
    assert job.ended.wait(WAIT)
    assert job.outcome == "cleaned up"


def test_an_interrupt_for_a_run_that_has_ended_does_nothing(make_pool: MakePool) -> None:
    pool, first = make_pool(1), Job(lambda _slot: "first")
    pool.put(first)
    assert first.ended.wait(WAIT)
    second = held()
    pool.put(second)
    assert second.gate.reached.wait(WAIT)
    for _ in range(3):
        pool.slots[0].interrupt(first, TaskCancelled)
    assert not second.ended.wait(0.1)
    second.gate.opened.set()
    assert second.ended.wait(WAIT)
    assert second.outcome is None


def test_a_stop_outside_any_run_does_not_end_the_thread(make_pool: MakePool) -> None:
    pool = make_pool(1)
    for _ in range(3):
        eventually(lambda: pool.slots[0].thread_id)
        slot = pool.slots[0]
        ghost = Job(lambda _slot: None)
        slot.begin(ghost, None)  # as if the run ended between the look and the stop
        slot.interrupt(ghost, TaskTimeout)
        slot.end()
        job = Job(lambda _slot: "ran")
        pool.put(job)  # wakes the thread, which then hears of the stop
        again = Job(lambda _slot: "ran again")
        pool.put(again)
        assert again.ended.wait(WAIT)
        assert again.outcome == "ran again"


def test_every_run_has_an_outcome_however_stops_rain(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short runs with time limits of about their length, and cancels at every moment."""
    monkeypatch.setattr(yadtq_pools, "WATCH_EVERY", 0.0005)
    ended: queue.SimpleQueue[Job] = queue.SimpleQueue()
    lengths = itertools.cycle([0.0, 0.0004, 0.001])

    def work(_slot: Slot[Job]) -> str:
        until = time.monotonic() + next(lengths)
        while time.monotonic() < until:
            pass
        return "done"

    pool = make_pool(4)
    jobs = [Job(work, timeout=0.0005) for _ in range(1500)]
    for job in jobs:
        pool.put(job)
    while not jobs[-1].ended.is_set() and pool.running():
        pool.cancel(lambda _job: True)
    assert all(job.ended.wait(WAIT) for job in jobs), "a run was lost"
    kinds = {job.outcome for job in jobs}
    assert kinds <= {"done", TaskCancelled, TaskTimeout}
    assert len(kinds) > 1, "no stop met any run"
    assert ended.empty()
    probe = [held() for _ in pool.slots]  # all four threads still live
    for job in probe:
        pool.put(job)
    assert all(job.gate.reached.wait(WAIT) for job in probe)
    for job in probe:
        job.gate.opened.set()
    assert all(job.ended.wait(WAIT) for job in probe)


def stop_runs_then_trace() -> None:
    """For a process of its own: stops that are heeded, that come late, and that a blocked thread does not hear; then tracing."""
    pool: ThreadPool[Job] = ThreadPool(3, execute, give_up, grace=0.05)
    pool.start()
    blocked, late = threading.Event(), threading.Event()
    jobs = [held(), Job(lambda _slot: blocked.wait(), timeout=0.01), Job(lambda _slot: late.wait())]
    for job in jobs:
        pool.put(job)
    assert jobs[0].gate.reached.wait(WAIT)
    eventually(lambda: len(pool.running()) == 3)
    pool.cancel(lambda job: job is not jobs[1])
    late.set()
    assert all(job.ended.wait(WAIT) for job in jobs)
    assert [job.outcome for job in jobs] == [TaskCancelled, "given up", TaskCancelled]

    def several_lines() -> int:
        first = 1
        return first + 1

    sys.settrace(lambda *_: None)  # as coverage and debuggers do
    assert several_lines() == 2
    sys.settrace(None)


def test_stops_leave_nothing_behind_in_the_interpreter() -> None:
    """CPython 3.11 would never come back from the traced function."""
    command = [sys.executable, "-c", f"from {__name__} import stop_runs_then_trace; stop_runs_then_trace()"]
    subprocess.run(command, check=True, timeout=30, cwd=Path(__file__).parents[2])


def test_a_blocked_thread_hears_of_its_stop_when_its_call_returns(make_pool: MakePool) -> None:
    """Although other stops were delivered, and taken back, in the meantime."""
    blocked = threading.Event()
    pool, slow = make_pool(2), Job(lambda _slot: blocked.wait())
    pool.put(slow)
    eventually(lambda: pool.running() == [slow])
    pool.cancel(lambda job: job is slow)
    for _ in range(20):
        other = held()
        pool.put(other)
        assert other.gate.reached.wait(WAIT)
        pool.cancel(lambda job, other=other: job is other)  # type: ignore[misc]
        assert other.ended.wait(WAIT)
        assert other.outcome is TaskCancelled
    assert not slow.ended.is_set()
    blocked.set()
    assert slow.ended.wait(WAIT)
    assert slow.outcome is TaskCancelled


class SlowHandler(logging.Handler):
    """Writes a line once its gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate()

    def emit(self, _record: logging.LogRecord) -> None:
        self.gate.reached.set()
        self.gate.opened.wait(WAIT)


@pytest.fixture
def slow_logger() -> Iterator[tuple[logging.Logger, SlowHandler]]:
    logger, handler = logging.getLogger("slow"), SlowHandler()
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger, handler
    logger.removeHandler(handler)
    handler.gate.opened.set()


def test_a_run_that_waits_to_log_is_stopped_afterwards(
    make_pool: MakePool, slow_logger: tuple[logging.Logger, SlowHandler]
) -> None:
    """Before Python 3.13 a stop in the midst of it would leave the handler locked, for all threads and for ever."""
    logger, handler = slow_logger

    def work(_slot: Slot[Job]) -> None:
        logger.info("waits for the other line")
        limited.gate.wait()

    pool, first, limited = make_pool(2), Job(lambda _slot: logger.info("slow")), Job(work, timeout=0.2)
    pool.put(first)
    assert handler.gate.reached.wait(WAIT)
    pool.put(limited)
    assert not limited.ended.wait(0.6)
    handler.gate.opened.set()
    assert limited.ended.wait(WAIT)
    assert limited.outcome is TaskTimeout
    assert handler.lock is not None
    assert handler.lock.acquire(timeout=1)
    handler.lock.release()
    assert first.ended.wait(WAIT)


@pytest.mark.parametrize(
    ("modules", "may"),
    [
        (["shop"], True),
        (["shop", "logging", "logging.handlers", "shop"], False),
        (["shop", "importlib._bootstrap", "shop.prices"], False),
        (["shop", "redis.client", "redis.connection"], False),
        (["shop", "redis.client", "redis.connection", "redis._parsers.hiredis"], True),
        (["logging", "shop", "redis.client", "redis.connection", "redis._parsers.hiredis"], False),
        (["redis_shop", "logging_shop"], True),
    ],
)
def test_a_thread_is_not_stopped_where_that_would_harm_others(modules: list[str], may: bool) -> None:
    gate = Gate()
    call = gate.wait
    for module in reversed(modules):
        names: dict[str, Any] = {"__name__": module, "inner": call}
        exec("def call(): inner()", names)
        call = names["call"]
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert gate.reached.wait(WAIT)
    assert may_be_stopped(thread.ident or 0) is may
    gate.opened.set()
    thread.join(WAIT)


def test_the_interpreters_own_import_is_known_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frames are frozen, and named by the interpreter."""
    (tmp_path / "looks_at_itself.py").write_text(
        "import threading\nfrom yadtq.core.yadtq_pools import may_be_stopped\nmay = may_be_stopped(threading.get_ident())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.import_module("looks_at_itself").may is False


def test_stopping_lets_present_runs_end(make_pool: MakePool) -> None:
    pool, job = make_pool(2), held()
    pool.put(job)
    assert job.gate.reached.wait(WAIT)
    pool.stop()
    pool.stop()
    assert not job.ended.is_set()
    job.gate.opened.set()
    assert job.ended.wait(WAIT)


def test_threads_that_were_given_up_and_have_ended_are_forgotten() -> None:
    pool: ThreadPool[Job] = ThreadPool(1, execute, give_up, grace=0.0)
    pool.start()
    free = threading.Event()

    def hang(_slot: Slot[Job]) -> None:
        while not free.is_set():
            try:
                free.wait()
            except TaskTimeout:
                continue

    for _ in range(5):
        free.clear()
        hung = Job(hang, timeout=0.05)
        pool.put(hung)
        eventually(lambda: pool.stuck == 1)
        free.set()
        eventually(lambda: pool.stuck == 0)
    pool.stop()
    assert len(pool._threads) <= 3
