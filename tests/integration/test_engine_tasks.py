"""One task's life on real servers: accepted, delayed, run, repeated, stopped, retried by a person."""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.helpers import Gate, House, eventually, new_settings
from yadtq import (
    DoNotRetry,
    IllegalMove,
    PayloadTooLarge,
    ResultStoreUnavailable,
    ResultTimeout,
    TaskCancelled,
    TaskNotFound,
    TaskStatus,
    task,
)
from yadtq.core.yadtq_result_db import Unanswered
from yadtq.core.yadtq_trouble import AWAY, REFUSED
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

GATES: dict[str, Gate] = defaultdict(Gate)
RUNS: dict[str, list[Any]] = defaultdict(list)  # what runs of a test's tasks have noted
HOUR = 3600.0


def add(a: int, b: int) -> int:
    return a + b


def blob(size: int) -> str:
    return "x" * size


def count(name: str, payload: str = "") -> int:
    RUNS[name].append(len(payload))
    return len(payload)


def hold(name: str, payload: str = "") -> str:
    RUNS[name].append(time.monotonic())
    GATES[name].wait()
    return "let through"


def stop_when_asked(name: str, ctx: Any) -> None:
    try:
        GATES[name].wait()
    except TaskCancelled:
        RUNS[name].append(ctx.cancelled)
        raise


def finish_anyway(name: str) -> str:
    try:
        GATES[name].wait()
    except TaskCancelled:
        return "finished"
    return "never asked"


def fail_when_asked(name: str) -> None:
    try:
        GATES[name].wait()
    except TaskCancelled as error:
        raise ValueError("could not clean up") from error


def fail(name: str = "") -> None:
    RUNS[name].append(time.monotonic())
    raise ValueError("broken")


def fail_while_closed(name: str) -> str:
    RUNS[name].append(time.monotonic())
    if not GATES[name].opened.is_set():
        raise ValueError("still closed")
    return "open"


def fail_twice(name: str, ctx: Any) -> int:
    RUNS[name].append((ctx.attempt, ctx.fence))
    if ctx.attempt < 3:
        raise ValueError(f"attempt {ctx.attempt}")
    return ctx.attempt


@task(no_retry=(LookupError,))
def fail_for_good(name: str) -> None:
    RUNS[name].append(1)
    raise KeyError("absent")


def give_up(name: str) -> None:
    RUNS[name].append(1)
    raise DoNotRetry("division by zero")


@task(retries=1, timeout=0.2)
def limited(name: str) -> None:
    RUNS[name].append(1)
    GATES[name].wait()


FUNCTIONS = [add, blob, count, hold, stop_when_asked, finish_anyway, fail_when_asked, fail]
FUNCTIONS += [fail_while_closed, fail_twice, fail_for_good, give_up, limited]
HANDLERS = {function.__name__: function for function in FUNCTIONS}


@pytest.fixture(scope="module")
def house(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> Iterator[House]:
    """One worker for all tests here; another, of queue ``patient``, pauses up to an hour between attempts."""
    with House(new_settings(kafka, redis_server, time_scale=0.1, retry_backoff=0.05)) as house:
        patient = house.beside(retry_backoff=HOUR, retry_backoff_max=HOUR)
        house.worker(HANDLERS)
        patient.worker(HANDLERS, queues=["patient"])
        yield house


@pytest.fixture
def name() -> Iterator[str]:
    """A name for this test's gate and notes; whatever still waits at the gate is let go at the end."""
    name = uuid.uuid4().hex
    yield name
    GATES[name].opened.set()


# -- submit, get, wait ---------------------------------------------------------------------------------


def test_a_submitted_task_ends_with_its_result(house: House) -> None:
    task_id = house.client.submit("add", 2, b=3)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.result, result.attempts, result.lost) == (TaskStatus.SUCCESS, 5, 1, 0)
    assert (result.name, result.queue, result.gen, result.error) == ("add", "default", 1, None)
    assert result.submitted_at <= result.started_at <= result.finished_at
    # The client notes where Kafka put the record once Kafka says so, which may be after the task has ended.
    eventually(lambda: house.client.get_result(task_id).offset is not None)
    again = house.client.get_result(task_id)
    assert replace(again, partition=result.partition, offset=result.offset) == result


def test_a_running_task_is_seen_processing_and_a_wait_for_it_times_out(house: House, name: str) -> None:
    task_id = house.client.submit("hold", name)
    assert GATES[name].reached.wait(10)
    result = house.client.get_result(task_id)
    assert (result.status, result.finished_at, result.done) == (TaskStatus.PROCESSING, None, False)
    assert result.worker
    with pytest.raises(ResultTimeout, match=r"still processing after 0\.1 s"):
        house.client.wait_for_result(task_id, timeout=0.1)
    GATES[name].opened.set()
    assert house.client.wait_for_result(task_id, timeout=10).result == "let through"


def test_a_waiting_client_is_woken_by_redis_before_it_looks_again(house: House, name: str) -> None:
    task_id = house.client.submit("hold", name)
    assert GATES[name].reached.wait(10)
    took: list[float] = []

    def wait() -> None:
        begun = time.monotonic()
        house.client.wait_for_result(task_id, timeout=10)
        took.append(time.monotonic() - begun)

    waiting = threading.Thread(target=wait)
    waiting.start()
    channel = f"{house.prefix}done:{task_id}"
    eventually(lambda: dict(house.redis.pubsub_numsub(channel))[channel])
    GATES[name].opened.set()
    waiting.join(10)
    assert took[0] < 0.8  # its own next look comes after a second


@pytest.fixture(scope="module")
def ten_thousand(house: House) -> list[str]:
    """The ids of 10,000 additions submitted at once, all ended."""
    ids = house.client.submit_many([("add", (number, number)) for number in range(10_000)])
    house.ended(ids, timeout=60)
    return ids


def test_submit_many_keeps_the_order_and_every_task_ends_right(house: House, ten_thousand: list[str]) -> None:
    assert len(set(ten_thousand)) == 10_000
    results = house.results(ten_thousand)
    assert [result.result for result in results] == [2 * number for number in range(10_000)]
    assert {result.attempts for result in results} == {1}


def test_indexes_keep_only_the_newest_ten_thousand(house: House, ten_thousand: list[str]) -> None:
    house.ended(house.client.submit_many([("add", (1, 1))] * 300))
    sizes = {index: house.redis.zcard(f"{house.prefix}{index}") for index in ("index:all", "index:success", "upd")}
    assert sizes == {"index:all": 10_000, "index:success": 10_000, "upd": 10_000}


def test_submit_many_takes_keyword_arguments_and_options(house: House) -> None:
    ids = house.client.options(retries=0).submit_many([("add", (1,), {"b": 2}), ("fail", ())])
    first, second = house.ended(ids)
    assert (first.result, second.status, second.attempts) == (3, TaskStatus.FAILED, 1)


# -- delay and expiry ----------------------------------------------------------------------------------


def test_a_delayed_task_is_scheduled_and_not_run_before_its_time(house: House, name: str) -> None:
    begun = time.monotonic()
    task_id = house.client.options(delay=0.7).submit("fail_while_closed", name)
    GATES[name].opened.set()
    scheduled = house.client.get_result(task_id)
    assert scheduled.status == TaskStatus.SCHEDULED
    assert scheduled.due_at == pytest.approx(scheduled.submitted_at + 0.7, abs=0.002)
    assert house.client.wait_for_result(task_id, timeout=10).ok
    assert RUNS[name][0] - begun >= 0.7


def test_a_delay_of_less_than_a_millisecond_is_none(house: House) -> None:
    """Redis queues the task, so its record must be sent now: the outbox would be looked at 20 seconds later."""
    unhurried = house.beside(time_scale=1.0)
    task_id = unhurried.client.options(delay=0.0009).submit("add", 1, 1)
    assert unhurried.client.wait_for_result(task_id, timeout=10).ok


def test_a_queued_task_expires_when_no_worker_takes_it_in_time(house: House, name: str) -> None:
    task_id = house.client.options(queue="empty", expires=0.3).submit("count", name)
    assert house.client.get_result(task_id).status == TaskStatus.QUEUED
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.attempts) == (TaskStatus.EXPIRED, 0)
    assert result.finished_at >= result.expires_at


def test_a_scheduled_task_whose_expiry_passes_is_never_run(house: House, name: str) -> None:
    task_id = house.client.options(delay=0.4, expires=0.1).submit("count", name)
    assert house.client.wait_for_result(task_id, timeout=10).status == TaskStatus.EXPIRED
    assert RUNS[name] == []


def test_an_expiry_that_passes_while_the_task_runs_does_not_end_it(house: House, name: str) -> None:
    task_id = house.client.options(expires=0.5).submit("hold", name)
    assert GATES[name].reached.wait(10)
    expires_at = house.client.get_result(task_id).expires_at
    eventually(lambda: house.views.server_time() > expires_at + 0.3)
    assert house.client.get_result(task_id).status == TaskStatus.PROCESSING
    GATES[name].opened.set()
    assert house.client.wait_for_result(task_id, timeout=10).ok


# -- failures and attempts -----------------------------------------------------------------------------


def test_a_failed_attempt_is_repeated_until_one_succeeds(house: House, name: str) -> None:
    task_id = house.client.submit("fail_twice", name)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.result, result.attempts, result.gen) == (TaskStatus.SUCCESS, 3, 3, 3)
    history = house.views.task(task_id).history
    assert [(entry.attempt, entry.outcome, entry.error) for entry in history] == [
        (1, "retry", "ValueError: attempt 1"),
        (2, "retry", "ValueError: attempt 2"),
    ]


def test_the_fence_rises_with_every_run(house: House, name: str) -> None:
    house.ended([house.client.submit("fail_twice", name)])
    fences = [fence for _, fence in RUNS[name]]
    assert len(fences) == 3
    assert fences == sorted(set(fences))


def test_three_retries_follow_the_first_attempt_by_default(house: House, name: str) -> None:
    task_id = house.client.submit("fail", name)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.reason, result.error) == (TaskStatus.FAILED, "error", "ValueError: broken")
    assert result.attempts == len(RUNS[name]) == 4


def test_every_attempt_of_an_exhausted_task_is_kept_with_its_traceback(house: House, name: str) -> None:
    task_id = house.client.options(retries=2).submit("fail", name)
    assert house.client.wait_for_result(task_id, timeout=10).attempts == 3
    history = house.views.task(task_id).history
    assert [(entry.attempt, entry.outcome) for entry in history] == [
        (1, "retry"),
        (2, "retry"),
        (3, "failed"),
    ]
    for entry in history:
        assert entry.started_at is not None
        assert entry.finished_at is not None
        assert 0 <= entry.finished_at - entry.started_at < 1
        assert "in fail\n" in entry.traceback
        assert entry.traceback.rstrip().endswith("ValueError: broken")
        assert "yadtq_execution" not in entry.traceback


def test_a_failed_attempt_waits_in_retrying_for_a_time_below_the_backoff(house: House, name: str) -> None:
    task_id = house.client.options(queue="patient").submit("fail", name)
    result = house.reaches(task_id, "retrying")
    assert (result.attempts, result.error, result.finished_at) == (1, "ValueError: broken", None)
    assert 0 <= result.due_at - result.changed_at <= HOUR


@pytest.mark.parametrize(
    ("function", "error"), [("fail_for_good", "KeyError: 'absent'"), ("give_up", "division by zero")]
)
def test_an_error_that_forbids_it_is_not_retried(house: House, name: str, function: str, error: str) -> None:
    result = house.client.wait_for_result(house.client.submit(function, name), timeout=10)
    assert (result.status, result.reason, result.error) == (TaskStatus.FAILED, "error", error)
    assert result.attempts == len(RUNS[name]) == 1


def test_do_not_retry_leaves_no_traceback(house: House, name: str) -> None:
    task_id = house.client.submit("give_up", name)
    house.client.wait_for_result(task_id, timeout=10)
    assert [entry.traceback for entry in house.views.task(task_id).history] == [""]


def test_a_time_limit_ends_an_attempt_and_the_last_one_ends_the_task(house: House, name: str) -> None:
    result = house.client.wait_for_result(house.client.submit("limited", name), timeout=10)
    assert (result.status, result.reason) == (TaskStatus.FAILED, "timeout")
    assert result.error == "ran longer than 0.2 s"
    assert result.attempts == len(RUNS[name]) == 2


def test_a_submits_options_beat_the_functions_own(house: House, name: str) -> None:
    task_id = house.client.options(timeout=0.05, retries=0).submit("limited", name)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.attempts, result.error) == (1, "ran longer than 0.05 s")


# -- cancel --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"delay": HOUR}, {"queue": "empty"}], ids=["scheduled", "queued"])
def test_a_waiting_task_is_cancelled_at_once(house: House, name: str, options: dict[str, Any]) -> None:
    task_id = house.client.options(**options).submit("count", name)
    assert house.client.cancel(task_id) == TaskStatus.CANCELLED
    result = house.client.get_result(task_id)
    assert (result.status, result.attempts) == (TaskStatus.CANCELLED, 0)
    assert house.redis.zscore(f"{house.prefix}due", task_id) is None
    assert house.redis.zscore(f"{house.prefix}outbox", task_id) is None


def test_a_retrying_task_is_cancelled_at_once(house: House, name: str) -> None:
    task_id = house.client.options(queue="patient").submit("fail", name)
    house.reaches(task_id, "retrying")
    assert house.client.cancel(task_id) == TaskStatus.CANCELLED
    assert house.redis.zscore(f"{house.prefix}due", task_id) is None
    assert house.client.get_result(task_id).attempts == 1


def test_a_running_task_hears_of_its_cancel_and_ends_cancelled(house: House, name: str) -> None:
    task_id = house.client.submit("stop_when_asked", name)
    assert GATES[name].reached.wait(10)
    assert house.client.cancel(task_id) == TaskStatus.PROCESSING
    assert house.client.get_result(task_id).cancel_requested
    assert house.client.wait_for_result(task_id, timeout=10).status == TaskStatus.CANCELLED
    assert RUNS[name] == [True]  # ctx.cancelled, seen as TaskCancelled was raised


def test_a_task_that_succeeds_after_its_cancel_was_asked_is_a_success(house: House, name: str) -> None:
    task_id = house.client.submit("finish_anyway", name)
    assert GATES[name].reached.wait(10)
    house.client.cancel(task_id)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.result) == (TaskStatus.SUCCESS, "finished")


def test_a_task_that_fails_after_its_cancel_was_asked_is_cancelled(house: House, name: str) -> None:
    task_id = house.client.submit("fail_when_asked", name)
    assert GATES[name].reached.wait(10)
    house.client.cancel(task_id)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.attempts) == (TaskStatus.CANCELLED, 1)


def test_an_ended_task_cannot_be_cancelled(house: House) -> None:
    task_id = house.client.submit("add", 1, 1)
    house.client.wait_for_result(task_id, timeout=10)
    with pytest.raises(IllegalMove, match="already ended: success"):
        house.client.cancel(task_id)


def test_cancelling_twice_is_fine(house: House) -> None:
    task_id = house.client.options(delay=HOUR).submit("add", 1, 1)
    assert house.client.cancel(task_id) == house.client.cancel(task_id) == TaskStatus.CANCELLED


# -- retry by a person ---------------------------------------------------------------------------------


def test_a_failed_task_can_be_retried_from_its_first_attempt(house: House, name: str) -> None:
    task_id = house.client.options(retries=1).submit("fail_while_closed", name)
    assert house.client.wait_for_result(task_id, timeout=10).attempts == 2
    GATES[name].opened.set()
    assert house.client.retry(task_id) == TaskStatus.QUEUED
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.result, result.attempts) == (TaskStatus.SUCCESS, "open", 1)
    assert (result.error, result.reason) == (None, None)
    assert [entry.outcome for entry in house.views.task(task_id).history] == ["retry", "failed"]


def test_a_retried_task_has_all_its_attempts_again(house: House, name: str) -> None:
    task_id = house.client.options(retries=1).submit("fail", name)
    house.client.wait_for_result(task_id, timeout=10)
    house.client.retry(task_id)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.attempts, len(RUNS[name])) == (TaskStatus.FAILED, 2, 4)


def test_a_cancelled_task_can_be_retried_and_its_old_cancel_is_forgotten(house: House, name: str) -> None:
    task_id = house.client.submit("stop_when_asked", name)
    assert GATES[name].reached.wait(10)
    house.client.cancel(task_id)
    assert house.client.wait_for_result(task_id, timeout=10).status == TaskStatus.CANCELLED
    GATES[name].opened.set()
    house.client.retry(task_id)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.cancel_requested) == (TaskStatus.SUCCESS, False)


def test_an_expired_task_can_be_retried_and_does_not_expire_again(house: House, name: str) -> None:
    task_id = house.client.options(delay=0.2, expires=0.1).submit("count", name)
    assert house.client.wait_for_result(task_id, timeout=10).status == TaskStatus.EXPIRED
    house.client.retry(task_id)
    result = house.client.wait_for_result(task_id, timeout=10)
    assert (result.status, result.expires_at, len(RUNS[name])) == (TaskStatus.SUCCESS, None, 1)


def test_a_big_task_that_only_kafka_holds_is_read_back_for_its_retry(house: House, name: str) -> None:
    payload = "x" * 100_000
    task_id = house.client.options(queue="later").submit("count", name, payload)
    eventually(lambda: not house.row_exists("envelope", task_id))
    house.client.cancel(task_id)
    assert house.client.retry(task_id) == TaskStatus.QUEUED
    house.worker(HANDLERS, queues=["later"])
    assert house.client.wait_for_result(task_id, timeout=20).result == len(payload)
    assert RUNS[name] == [len(payload)]  # the cancelled record was not run as well


def test_a_record_of_another_task_is_not_taken_for_the_one_to_be_read_back(house: House, name: str) -> None:
    """A topic that was made anew gives the same places to other records."""
    ids = [house.client.options(queue="nobody").submit("count", name, text * 100_000) for text in "ab"]
    eventually(lambda: not any(house.row_exists("envelope", task_id) for task_id in ids))
    house.client.cancel(ids[0])
    place = house.redis.hmget(f"{house.prefix}t:{ids[1]}", "part", "offset")
    house.redis.hset(f"{house.prefix}t:{ids[0]}", mapping=dict(zip(("part", "offset"), place, strict=True)))
    with pytest.raises(TaskNotFound, match="are gone from Redis and Kafka; submit it again"):
        house.client.retry(ids[0])
    assert house.client.get_result(ids[0]).status == TaskStatus.CANCELLED


def test_a_retry_whose_first_answer_was_lost_is_no_error_once_the_task_has_run(
    house: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = house.client.options(delay=HOUR).submit("count", name)
    house.client.cancel(task_id)
    retry, answers = house.store.retry_many, []

    def unanswered_once(*args: Any) -> list[list[str]]:
        answers.append(retry(*args))
        if len(answers) == 1:
            house.client.wait_for_result(task_id, timeout=10)
            raise Unanswered("no answer", kind=AWAY)
        return answers[-1]

    monkeypatch.setattr(house.store, "retry_many", unanswered_once)
    assert house.client.retry(task_id) == TaskStatus.QUEUED
    assert (len(answers), len(RUNS[name])) == (2, 1)


def test_a_task_submitted_again_is_told_of_though_its_history_cannot_be_written(
    house: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = house.client.submit("count", name)
    house.client.wait_for_result(task_id, timeout=10)

    def away(_entries: object) -> None:
        raise ResultStoreUnavailable("Redis is away", kind=REFUSED)

    monkeypatch.setattr(house.store, "note", away)
    new_id = house.client.resubmit(task_id)
    assert house.client.wait_for_result(new_id, timeout=10).ok
    assert len(RUNS[name]) == 2


def test_a_big_task_that_failed_can_be_retried(house: House, name: str) -> None:
    task_id = house.client.submit("hold", name, "x" * 100_000)
    assert GATES[name].reached.wait(10)
    eventually(lambda: house.row_exists("envelope", task_id))  # the claim has brought it along
    house.client.cancel(task_id)
    assert house.client.wait_for_result(task_id, timeout=10).status == TaskStatus.CANCELLED
    GATES[name].opened.set()
    house.client.retry(task_id)
    assert house.client.wait_for_result(task_id, timeout=10).ok


@pytest.mark.parametrize("status", ["success", "processing", "scheduled"])
def test_only_a_task_that_ended_without_success_can_be_retried(house: House, name: str, status: str) -> None:
    submits = {
        "success": lambda: house.client.submit("add", 1, 1),
        "processing": lambda: house.client.submit("hold", name),
        "scheduled": lambda: house.client.options(delay=HOUR).submit("add", 1, 1),
    }
    task_id = submits[status]()
    house.reaches(task_id, status)
    with pytest.raises(IllegalMove, match=f"is {status}; only"):
        house.client.retry(task_id)


# -- idempotency keys ----------------------------------------------------------------------------------


def test_a_repeat_with_the_same_key_and_name_is_the_first_task(house: House, name: str) -> None:
    once = house.client.options(key=f"invoice-{name}")
    task_id = once.submit("count", name)
    assert once.submit("count", name) == task_id
    house.client.wait_for_result(task_id, timeout=10)
    assert once.submit("count", name) == task_id  # also when it has ended
    assert once.submit("add", 1, 1) != task_id  # another task of the same key is another task
    assert RUNS[name] == [0]


# -- sizes ---------------------------------------------------------------------------------------------


def test_a_payload_of_100_kib_arrives_whole(house: House, name: str) -> None:
    task_id = house.client.submit("count", name, "x" * 102_400)
    assert house.client.wait_for_result(task_id, timeout=10).result == 102_400


def test_a_backlog_of_big_payloads_lives_in_kafka_alone(house: House, name: str) -> None:
    big, small = (house.client.options(queue="empty").submit("count", name, "x" * size) for size in (3000, 1000))
    eventually(lambda: not house.row_exists("envelope", big))
    eventually(lambda: house.client.get_result(small).offset is not None)
    assert house.row_exists("envelope", small)
    for task_id in (big, small):
        house.client.cancel(task_id)


def test_a_result_of_500_kib_comes_back_whole(house: House) -> None:
    result = house.client.wait_for_result(house.client.submit("blob", 512_000), timeout=10)
    assert result.result == "x" * 512_000


def test_a_result_over_1_mib_fails_the_task_at_once_and_says_so(house: House) -> None:
    result = house.client.wait_for_result(house.client.submit("blob", 1_048_577), timeout=10)
    assert (result.status, result.reason, result.attempts) == (TaskStatus.FAILED, "error", 1)
    assert "1,048,579 bytes" in house.views.task(result.id).history[-1].error


def test_a_payload_over_512_kib_is_refused_at_submit(house: House) -> None:
    before = house.client.submit("add", 1, 1)
    with pytest.raises(PayloadTooLarge, match=r"arguments of count take 524,\d+ bytes, more than 524,288"):
        house.client.submit("count", "too big", "x" * 524_288)
    assert house.views.tasks(limit=1).items[0].id == before  # nothing was accepted since


def test_no_id_is_known_that_was_not_submitted(house: House) -> None:
    with pytest.raises(TaskNotFound, match="no task 'feedfeedfeed'"):
        house.client.get_result("feedfeedfeed")
