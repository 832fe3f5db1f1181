"""Children are started again with growing pauses, and are gone when their parent is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from yadtq.commands import children
from yadtq.commands.children import Child, signals_interrupt, stop_all

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def child(said: list[str]) -> Iterator[Child]:
    made = Child("sleeper", SLEEPER, {}, said.append)
    yield made
    made.kill()


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_child_is_started_again(child: Child, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_FIRST_PAUSE", 0.01)
    child.start()
    first = child.pid
    assert first
    os.kill(first, signal.SIGKILL)

    def another() -> bool:
        child.tend()
        return child.pid not in (None, first)

    until(another)
    assert said == ["sleeper was killed by SIGKILL (out of memory?); it starts again in 0 s"]


def test_pauses_grow_to_a_limit(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(children.time, "monotonic", lambda: clock[0])
    child = Child("failing", [sys.executable, "-c", "raise SystemExit(3)"], {}, said.append)
    for _ in range(7):
        clock[0] += 100
        child.tend()  # starts it
        assert child._process
        child._process.wait()
        child._started = clock[0]
        child.tend()  # notes its end
    assert [line.rpartition(" in ")[2] for line in said] == [
        "1 s",
        "2 s",
        "4 s",
        "8 s",
        "16 s",
        "30 s",
        "30 s",
    ]
    assert "ended with exit code 3" in said[0]


def test_the_last_line_of_its_log_is_told(tmp_path: Path, said: list[str]) -> None:
    command = [sys.executable, "-c", "print('first'); raise SystemExit('the reason')"]
    child = Child("failing", command, {}, said.append, tmp_path / "log")
    child.start()
    until(lambda: child.tend() or said)
    assert said == ["failing ended with exit code 1 (the reason); it starts again in 1 s"]


def test_a_redis_url_of_ours_replaces_the_single_settings() -> None:
    inherited = {"YADTQ_REDIS_HOST": "elsewhere", "YADTQ_REDIS_PORT": "1", "PATH": "/bin"}
    assert children._merged(inherited, {"YADTQ_REDIS_URL": "redis://here"}) == {
        "PATH": "/bin",
        "YADTQ_REDIS_URL": "redis://here",
    }
    assert children._merged(inherited, {}) == inherited


def test_a_child_that_will_not_stop_is_killed(tmp_path: Path, said: list[str]) -> None:
    ready = tmp_path / "ready"
    code = f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(ready)!r}, 'w'); time.sleep(600)"
    child = Child("stubborn", [sys.executable, "-c", code], {}, said.append)
    child.start()
    pid = child.pid
    assert pid
    until(ready.exists)
    stop_all([child], grace=0.1)
    assert not is_alive(pid)
    assert said == ["stubborn did not stop in time and is killed"]


def test_stopping_what_never_started_is_fine(child: Child) -> None:
    stop_all([child], grace=0.1)
    stop_all([child], grace=0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_arrive_as_an_interrupt(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    if before is signal.SIG_IGN:  # the run itself is under nohup, where it stays ignored
        pytest.skip(f"{number.name} is ignored in this run")
    with signals_interrupt(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        "import time; from yadtq.commands.children import Child\n"
        f"child = Child('child', {SLEEPER!r}, {{}}, print); child.start()\n"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
        parent.wait()
    until(lambda: not is_alive(pid))
