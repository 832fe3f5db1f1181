"""What callers may get wrong: arguments, results, names, ids, options. Each error says what and where."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers import House, new_settings
from yadtq import (
    ConfigError,
    InvalidName,
    TaskNotFound,
    TaskNotSerializable,
    TaskResult,
    TaskStatus,
    TaskWorker,
    task,
)
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

BAD_NAMES = ["", "two words", "path/../up", "naïve", "a" * 129, "line\n", "star*", None, 7]


def add(a: int, b: int) -> int:
    return a + b


def with_context(a: int, ctx: Any) -> int:
    return a


def type_error_inside(a: int) -> int:
    return a + "1"  # type: ignore[operator]


def give(what: str) -> Any:
    loop: list[Any] = []
    loop.append(loop)
    return {"set": {1}, "nan": math.nan, "object": object(), "loop": loop, "bytes": b"x", "key": {1: 2}}[what]


HANDLERS = {function.__name__: function for function in (add, with_context, type_error_inside, give)}


@pytest.fixture(scope="module")
def house(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[House]:
    with House(new_settings(kafka, redis_server, time_scale=0.1, retry_backoff=0.05)) as house:
        house.worker(HANDLERS)
        yield house


def outcome(house: House, name: str, *args: Any, **kwargs: Any) -> TaskResult:
    return house.client.wait_for_result(house.client.submit(name, *args, **kwargs), timeout=10)


def accepted(house: House) -> int:
    """How many tasks this house has ever been given, by the index of all."""
    return int(house.redis.zcard(f"{house.prefix}index:all"))


# -- arguments and results -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "why"),
    [
        ("add", (1,), {}, "missing a required argument: 'b'"),
        ("add", (1, 2, 3), {}, "too many positional arguments"),
        ("add", (1,), {"c": 2}, "missing a required argument: 'b'"),
        ("add", (1, 2), {"c": 3}, "got an unexpected keyword argument 'c'"),
        ("add", (1, 2), {"b": 3}, "multiple values for argument 'b'"),
        ("with_context", (1, 2), {}, "multiple values for argument 'ctx'"),
    ],
)
def test_arguments_that_do_not_fit_are_rejected_without_a_retry(
    house: House, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], why: str
) -> None:
    result = outcome(house, name, *args, **kwargs)
    assert (result.status, result.reason, result.attempts) == (TaskStatus.FAILED, "rejected", 1)
    (entry,) = house.views.task(result.id).history
    assert entry.error == f"arguments do not fit {name}: {why}"


def test_a_type_error_of_the_task_itself_is_an_error_like_others(house: House) -> None:
    task_id = house.client.options(retries=1).submit("type_error_inside", 1)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.reason, result.attempts) == ("error", 2)
    assert result.error.startswith("TypeError: unsupported operand")


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("set", "the result of give is of type set, which is not JSON"),
        ("object", "the result of give is of type object, which is not JSON"),
        ("bytes", "the result of give is of type bytes, which is not JSON"),
        ("nan", "the result of give is nan, which JSON cannot hold"),
        ("loop", "is nested too deeply (or contains itself)"),
        ("key", "the result of give has the key 1; JSON keys are strings"),
    ],
)
def test_a_result_that_is_not_json_fails_the_task_and_says_so(house: House, what: str, why: str) -> None:
    result = outcome(house, "give", what)
    assert (result.status, result.reason, result.attempts) == (TaskStatus.FAILED, "error", 1)
    assert why in house.views.task(result.id).history[0].error


LOOP: list[Any] = []
LOOP.append(LOOP)
DEEP: Any = 1
for _ in range(40):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        ((1, {2}), {}, "argument 2 of add is of type set"),
        ((b"raw",), {}, "argument 1 of add is of type bytes"),
        ((1,), {"b": dt.date(2026, 1, 2)}, "argument 'b' of add is of type date"),
        ((1,), {"b": {"deep": [0, object()]}}, r"argument 'b' of add\['deep'\]\[1\] is of type object"),
        ((math.inf,), {}, "argument 1 of add is inf, which JSON cannot hold"),
        (([1, math.nan],), {}, r"argument 1 of add\[1\] is nan"),
        (({1: 2},), {}, "argument 1 of add has the key 1; JSON keys are strings"),
        (("half \ud800",), {}, "argument 1 of add holds half a surrogate pair"),
        ((LOOP,), {}, "contains itself"),
        ((1, DEEP), {}, "arguments of add are nested deeper than 32 levels"),
    ],
)
def test_arguments_that_are_not_json_are_refused_at_submit_by_name(
    house: House, args: tuple[Any, ...], kwargs: dict[str, Any], why: str
) -> None:
    before = accepted(house)
    with pytest.raises(TaskNotSerializable, match=why):
        house.client.submit("add", *args, **kwargs)
    with pytest.raises(TaskNotSerializable, match=why):
        house.client.submit_many([("add", (1, 2)), ("add", args, kwargs)])
    assert accepted(house) == before  # nor was the good one beside it accepted


def test_odd_but_good_values_come_through_unchanged(house: House) -> None:
    values = ["", "nul \0 and ünïcode 🎈", 2**70, -(2**63), 1e-300, None, True, [], {}, {"": [None]}]
    results = house.ended([house.client.submit("with_context", value) for value in values])
    assert [result.result for result in results] == values


# -- names and ids -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_task_name_is_refused_at_submit_and_by_the_worker(house: House, name: Any) -> None:
    before = accepted(house)
    with pytest.raises(InvalidName, match=r"task name .* must be 1 to 128 of the characters"):
        house.client.submit(name, 1)
    with pytest.raises(InvalidName, match="task name"):
        TaskWorker(house.broker, house.store, {name: add})
    assert accepted(house) == before


@pytest.mark.parametrize("name", BAD_NAMES[:-2])
def test_a_bad_queue_or_worker_name_is_refused(house: House, name: str) -> None:
    with pytest.raises(InvalidName, match="queue name"):
        house.client.options(queue=name)
    with pytest.raises(InvalidName, match="queue name"):
        TaskWorker(house.broker, house.store, {"add": add}, queues=[name])
    if name:  # an empty one means the default
        with pytest.raises(InvalidName, match="worker name"):
            TaskWorker(house.broker, house.store, {"add": add}, name=name)


def test_two_queues_never_share_a_topic(house: House) -> None:
    queues = ("a:b", "a.b", "a_b", "a-b", "a.:b", "a:.b", "a--b", "a-cb")
    topics = {house.broker.topic_of(queue).replace(".", "_") for queue in queues}  # as Kafka compares them
    assert len(topics) == len(queues)


def test_a_queue_whose_topic_kafka_cannot_hold_is_refused_at_once(house: House) -> None:
    """Kafka allows 249 characters; 128 colons would take twice as many, and the task would never leave."""
    with pytest.raises(InvalidName, match="queue name"):
        house.client.options(queue=":" * 128).submit("add", 1, 1)


@pytest.mark.parametrize("task_id", ["feedfeedfeedfeedfeedfeed", "", "no such\nthing", "x" * 500])
@pytest.mark.parametrize("call", ["get_result", "wait_for_result", "cancel", "retry"])
def test_an_unknown_id_is_not_found(house: House, call: str, task_id: str) -> None:
    with pytest.raises(TaskNotFound, match="there is no task"):
        getattr(house.client, call)(task_id)


# -- options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("delay", value) for value in (-1, math.nan, math.inf, "soon", True)),
        *(("retries", value) for value in (-1, 1.5, "three")),
        *(("timeout", value) for value in (0, -1, math.nan)),
        *(("expires", value) for value in (-1, math.inf)),
        *(("key", value) for value in ("", "x" * 513, 7, "half \ud800")),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(house: House, option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        house.client.options(**{option: value})


def test_an_unknown_option_is_refused_by_name(house: House) -> None:
    with pytest.raises(TypeError, match="priority"):
        house.client.options(priority=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("option", ["delay", "expires"])
def test_a_time_beyond_all_measure_is_refused(house: House, option: str) -> None:
    """No calendar holds it, so no page could show the task."""
    with pytest.raises(ConfigError, match=option):
        house.client.options(**{option: 1e15})


@pytest.mark.parametrize(
    "entry", ["add", ("add",), ("add", 1), ("add", "12"), ("add", (1, 2), [3]), ("add", (1,), {}, 4)]
)
def test_submit_many_refuses_an_entry_that_is_not_name_and_arguments(house: House, entry: Any) -> None:
    with pytest.raises(ConfigError, match="submit_many takes"):
        house.client.submit_many([entry])


def test_submit_many_of_nothing_is_nothing(house: House) -> None:
    assert house.client.submit_many([]) == []


def test_submit_many_with_a_key_is_refused(house: House) -> None:
    with pytest.raises(ConfigError, match="with one key"):
        house.client.options(key="k").submit_many([("add", (1, 1))])


async def asynchronous() -> None:
    """Cannot be run by workers yet."""


@pytest.mark.parametrize(
    ("handlers", "why"),
    [({}, "at least one task"), ({"add": 7}, "'add' is a int"), ({"later": asynchronous}, "async function")],
)
def test_handlers_that_cannot_be_run_are_refused(house: House, handlers: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        TaskWorker(house.broker, house.store, handlers)


@pytest.mark.parametrize("options", [{"retries": -1}, {"timeout": 0}, {"timeout": -1}])
def test_options_of_a_task_that_cannot_be_used_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        task(**options)


def test_a_worker_needs_a_slot(house: House) -> None:
    with pytest.raises(ConfigError, match="concurrency must be at least 1"):
        TaskWorker(house.broker, house.store, {"add": add}, concurrency=0)


# -- signing -------------------------------------------------------------------------------------------


def test_what_the_workers_would_reject_is_refused_at_submit(fresh_settings: Callable[..., dict[str, Any]]) -> None:
    """An id given for a record that no worker takes would stay queued for ever."""
    house = House(fresh_settings(signing_keys=["k1:a-secret-of-the-workers"]))
    try:
        house.worker({"add": add})
        for keys in ([], ["k1:another-secret-instead"], ["k2:a-secret-of-the-workers"]):
            with pytest.raises(ConfigError, match="set YADTQ_SIGNING_KEYS"):
                house.beside(signing_keys=keys).client.submit("add", 1, 1)
        assert house.client.wait_for_result(house.client.submit("add", 1, 1), timeout=10).result == 2
    finally:
        house.close()
