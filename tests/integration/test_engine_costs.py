"""What the engine costs and leaves behind: calls to Redis, lag in Kafka, keys that would stay for ever."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.connection import AbstractConnection

from tests.helpers import Gate, House, eventually
from yadtq import DoNotRetry, TaskCancelled

# Without a time to live, and bounded: one key each, or one per status.
LASTING = {
    "seq",
    "epoch",
    "upd",
    "totals",
    "backlog",
    "busy",
    "workers",
    "dead",
    "left",
    "groups",
    "sizes",
    "open_minute",
    "ever",
    "server",
    "gaps",
}
GREETINGS = {b"HELLO", b"CLIENT", b"SELECT", b"INFO"}  # once a connection or server, whatever is done with it
LASTING |= {f"index:{name}" for name in ("all", "success", "failed", "cancelled", "expired")}


@pytest.fixture
def house(fresh_settings: Callable[..., dict[str, Any]]) -> Iterator[House]:
    with House(fresh_settings(time_scale=0.04, retry_backoff=0.05)) as house:
        yield house


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the commands each thread of this process sends to Redis, by the thread's name; new connections' greetings apart."""
    sent: Counter[str] = Counter()
    send = AbstractConnection.send_packed_command

    def counting(self: AbstractConnection, command: Any, check_health: bool = True) -> Any:
        data = command if isinstance(command, bytes) else b"".join(command)
        if data.split(b"\r\n")[2].upper() not in GREETINGS:
            sent[threading.current_thread().name] += 1
        return send(self, command, check_health)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counting)
    return sent


GATES: dict[str, Gate] = defaultdict(Gate)


def add(a: int, b: int) -> int:
    return a + b


def fail(ctx: Any, until: int) -> str:
    if ctx.attempt < until:
        raise ValueError("not yet")
    return "x" * 1000


def refuse() -> None:
    raise DoNotRetry("no")


def hold() -> None:
    GATES["hold"].wait()


def finish_anyway() -> str:
    try:
        GATES["finish_anyway"].wait()
    except TaskCancelled:
        return "finished"
    return "never asked"


GATED = ("hold", "finish_anyway")
HANDLERS = {function.__name__: function for function in (add, fail, refuse, hold, finish_anyway)}


def test_a_submit_is_one_call_to_redis(house: House, wire: Counter[str]) -> None:
    me = threading.current_thread().name
    house.client.submit("add", 0, 0)  # the first one connects and loads the script
    wire.clear()
    for number in range(50):
        house.client.submit("add", number, 1)
    assert wire[me] == 50


def test_submit_many_is_one_call_for_two_hundred_tasks(house: House, wire: Counter[str]) -> None:
    me = threading.current_thread().name
    house.client.submit("add", 0, 0)
    wire.clear()
    house.client.submit_many([("add", (number, 1)) for number in range(1000)])
    assert wire[me] == 5


def test_a_worker_needs_one_claim_and_one_finish_for_a_batch(
    house: House, wire: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: dict[str, list[int]] = {"claim": [], "finish": []}
    for move, sizes in batches.items():
        call = getattr(house.store, move)

        def counted(inc: str, *args: Any, call: Any = call, sizes: list[int] = sizes, **kwargs: Any) -> Any:
            sizes.append(len(args[-1]))
            return call(inc, *args, **kwargs)

        monkeypatch.setattr(house.store, move, counted)
    ids = house.client.submit_many([("add", (number, 1)) for number in range(2000)])
    eventually(lambda: house.views.outbox_size() == 0)
    wire.clear()
    house.worker({"add": add})
    house.ended(ids)
    assert {move: sum(sizes) for move, sizes in batches.items()} == {"claim": 2000, "finish": 2000}
    # The first call of a script costs one more: Redis does not know it yet.
    assert wire["yadtq-claimer"] - len(batches["claim"]) <= 1
    assert wire["yadtq-finisher"] - len(batches["finish"]) <= 1
    assert not [name for name in wire if name.startswith("yadtq-task-")]
    assert len(batches["claim"]) + len(batches["finish"]) < 1000  # so they are batches: less than 0.5 a task


def test_committed_lag_is_gone_within_5_s_of_the_last_task(house: House) -> None:
    house.worker({"add": add})
    ids = house.client.submit_many([("add", (number, 1)) for number in range(1000)])
    house.ended(ids)
    ended_at = time.monotonic()
    eventually(lambda: house.lag() == 0, 5, every=0.1)
    assert time.monotonic() - ended_at < 5


def test_no_key_stays_in_redis_without_a_bound_or_a_time_to_live(house: House) -> None:
    client, worker = house.client, house.worker(HANDLERS)
    ids = client.submit_many([("add", (1, 1))] * 50 + [("add", (1, "x" * 5000))] * 5)
    ids += client.submit_many([("fail", (), {"until": 3})] * 3 + [("fail", (), {"until": 9})] * 3)
    ids += client.submit_many([("refuse", ())] * 3 + [("unknown", ())] * 2)
    ids += [client.options(delay=0.2).submit("add", 1, 1), client.options(key="k").submit("add", 1, 1)]
    ids += [client.options(queue="empty", expires=0.1).submit("add", 1, "x" * size) for size in (1, 5000)]
    for options in ({"queue": "empty"}, {"delay": 3600.0}):
        ids.append(client.options(**options).submit("add", 1, 1))
        client.cancel(ids[-1])
    running = [client.submit(name) for name in GATED]
    for name, task_id in zip(GATED, running, strict=True):
        assert GATES[name].reached.wait(10)
        client.cancel(task_id)
    ids += running
    house.ended(ids, timeout=30)
    GATES["hold"].opened.set()
    client.retry(running[0])
    house.ended(running)
    worker.stop()
    client.close()
    states = Counter(result.status.value for result in house.results(ids))
    assert set(states) == {"success", "failed", "cancelled", "expired"}

    names = [key.removeprefix(house.prefix) for key in house.redis.scan_iter(f"{house.prefix}*", count=1000)]
    kinds = {name.partition(":")[0] for name in names}
    assert {"t", "envelope", "result", "history", "key", "minute", "worker"} <= kinds  # all were made
    lasting = {name for name in names if house.redis.ttl(house.prefix + name) == -1}
    counting = f"minute:{house.redis.get(house.prefix + 'open_minute')}"
    failed = {name for name in lasting if name.startswith("group:")}  # as many as there are failed tasks in the index
    assert failed
    assert lasting - LASTING - failed == {counting}
    assert not kinds & {"outbox", "due", "run"}
    assert house.redis.hvals(f"{house.prefix}backlog") == ["0"] * house.redis.hlen(f"{house.prefix}backlog")
    assert house.redis.hvals(f"{house.prefix}busy") == ["0"] * house.redis.hlen(f"{house.prefix}busy")
