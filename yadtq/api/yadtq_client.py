"""The client: submit tasks, read and await results; what is done to tasks afterwards is in yadtq_steering.py."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from yadtq.api.yadtq_fleet import FleetSteering
from yadtq.api.yadtq_steering import BATCH, TaskSteering
from yadtq.core.yadtq_broker import Broker, Record
from yadtq.core.yadtq_codec import Stamp, arguments_json, preview
from yadtq.core.yadtq_portions import portions
from yadtq.core.yadtq_publisher import Publisher
from yadtq.core.yadtq_result_db import NewTask, NotOnDisk, ResultStore, Unanswered, seconds_to_ms
from yadtq.core.yadtq_task import Task, TaskOptions, TaskResult, check_name
from yadtq.errors import ConfigError, ResultStoreUnavailable, ResultTimeout, SubmitUncertain

Submit = tuple[str, Sequence[Any], dict[str, Any]]  # name, args, kwargs

TEN_YEARS = 10 * 366 * 86_400  # seconds, and more than anybody means
LOOK_AGAIN = 1.0  # seconds; a lost notification delays a waiting client no longer


def new_id() -> str:
    """A task's id: 96 random bits as 24 hex digits."""
    return os.urandom(12).hex()


class TaskClient(TaskSteering, FleetSteering):
    """Submits tasks and reads their results; thread-safe. Close it, or use it as a context manager."""

    def __init__(self, broker: Broker, result_store: ResultStore) -> None:
        super().__init__(broker, result_store)
        self._publisher = Publisher(broker, result_store)
        self._options = TaskOptions()

    def options(
        self,
        *,
        queue: str | None = None,
        delay: float | None = None,
        retries: int | None = None,
        timeout: float | None = None,
        expires: float | None = None,
        key: str | None = None,
    ) -> TaskSubmitter:
        """Options for the submits of the object returned; times in seconds.

        Args:
            queue: which workers may take the task.
            delay: before it is queued.
            retries: attempts after the first.
            timeout: how long one attempt may run.
            expires: it is not started any more after this time.
            key: a repeat with the same key and task name returns the first one's id while that task is kept.
        """
        given: dict[str, Any] = {
            "queue": queue,
            "delay": delay,
            "retries": retries,
            "timeout": timeout,
            "expires": expires,
            "key": key,
        }
        return TaskSubmitter(
            self,
            _checked(replace(TaskOptions(), **{name: value for name, value in given.items() if value is not None})),
        )

    def submit(self, name: str, /, *args: Any, **kwargs: Any) -> str:
        """Accept a task and return its id as soon as Redis has it; Kafka follows, also when it is down now.

        With the setting ``durable``, as soon as Redis has it on disk.

        Raises:
            TaskNotSerializable, PayloadTooLarge, InvalidName: the task cannot be sent as it is.
            ResultStoreUnavailable: Redis is away or full; nothing was accepted.
            SubmitUncertain: Redis did not answer, or with ``durable`` did not write to disk in time; carries the id.
        """
        return self._accept([(name, args, kwargs)], TaskOptions())[0]

    def submit_many(self, tasks: Iterable[Sequence[Any]]) -> list[str]:
        """Accept many tasks, each ``(name, args)`` or ``(name, args, kwargs)``; returns their ids in order.

        An error leaves accepted what earlier batches held, of 200 tasks or 4 MiB. Raises as :meth:`submit` does; a
        SubmitUncertain carries the ids of its batch.
        """
        return self._accept(map(_unpack, tasks), TaskOptions())

    def get_result(self, task_id: str) -> TaskResult:
        """What is known of a task now; raises TaskNotFound or ResultStoreUnavailable."""
        return self._store.patiently(lambda: self._views.result(task_id))

    def wait_for_result(self, task_id: str, timeout: float | None = None) -> TaskResult:
        """The task's result once it has ended; woken by Redis.

        Raises:
            ResultTimeout: it has not ended within ``timeout`` seconds.
            TaskNotFound, ResultStoreUnavailable
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        result = self.get_result(task_id)
        if result.done:
            return result
        with self._views.watch_task(task_id) as watcher:
            while not (result := self.get_result(task_id)).done:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ResultTimeout(
                        f"task {task_id} is still {result.status} after {timeout:g} s; it goes on, ask again later"
                    )
                watcher.wait(min(left, LOOK_AGAIN))
        return result

    def close(self) -> None:
        """Send what waits, for at most 5 s; what is left is published by a worker. Closing twice is fine."""
        self._publisher.close()

    def __enter__(self) -> TaskClient:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    # -- inside ------------------------------------------------------------------------------------

    def _accept(self, calls: Iterable[Submit], options: TaskOptions) -> list[str]:
        """In portions, all or nothing of each; the ids in order."""
        topic = self._broker.topic_of(options.queue)
        prepared = (self._prepare(topic, *call, options) for call in calls)
        ids: list[str] = []
        for portion in portions(prepared, BATCH, lambda one: len(one[1])):
            new, bodies = zip(*portion, strict=True)
            now, kept = self._enqueue(new)
            if not seconds_to_ms(options.delay):  # as Redis judges it: a shorter delay is none
                self._publish(topic, new, bodies, kept, now)
            ids += kept
        return ids

    def _prepare(
        self, topic: str, name: str, args: Sequence[Any], kwargs: dict[str, Any], options: TaskOptions
    ) -> tuple[NewTask, bytes]:
        """A task for Redis, and the body of its record."""
        expires_at = None if options.expires is None else time.time() + options.expires
        task = Task(
            new_id(), check_name("task", name), tuple(args), kwargs, options.retries, options.timeout, expires_at
        )
        body = self._broker.codec.pack(task)
        args_json = arguments_json(task.args, task.kwargs)
        shown = "" if args_json else preview(task.args, task.kwargs)
        envelope = self._broker.codec.seal(topic, body)
        new = NewTask(
            task.id, task.name, options.queue, envelope, args_json, shown, options.delay, options.expires, options.key
        )
        return new, body

    def _enqueue(self, new: Sequence[NewTask]) -> tuple[int, list[str]]:
        unanswered, accepted = False, list[str]()

        def once() -> tuple[int, list[str]]:
            nonlocal unanswered, accepted
            try:
                reply = self._store.enqueue(new)
            except Unanswered:
                unanswered = True
                raise
            except NotOnDisk as error:
                accepted = [item.decode() for item in error.reply.items]
                raise
            return reply.now, [item.decode() for item in reply.items]

        try:
            return self._store.patiently(once)
        except ResultStoreUnavailable as error:
            if accepted:
                raise _uncertain(error, accepted, "it accepted {}, and would lose that in a crash now") from error
            if unanswered:
                ids = [task.id for task in new]
                raise _uncertain(error, ids, "it may or may not have accepted {}") from error
            raise

    def _publish(
        self, topic: str, new: Sequence[NewTask], bodies: Sequence[bytes], ids: Sequence[str], now: int
    ) -> None:
        stamp, header = Stamp(1, now), self._broker.codec.header
        # Where an idempotency key gave an earlier id there is nothing to send.
        self._publisher.publish(
            [
                Record(task.id, 1, topic, body, header(topic, stamp, body), now)
                for task, body, kept in zip(new, bodies, ids, strict=True)
                if kept == task.id
            ]
        )


class TaskSubmitter:
    """Submits with the options it was made with; from :meth:`TaskClient.options`."""

    def __init__(self, client: TaskClient, options: TaskOptions) -> None:
        self._client = client
        self._options = options

    def submit(self, name: str, /, *args: Any, **kwargs: Any) -> str:
        """As :meth:`TaskClient.submit`."""
        return self._client._accept([(name, args, kwargs)], self._options)[0]

    def submit_many(self, tasks: Iterable[Sequence[Any]]) -> list[str]:
        """As :meth:`TaskClient.submit_many`."""
        if self._options.key is not None:
            raise ConfigError("submit_many with one key would accept only the first task; leave the key out")
        return self._client._accept(map(_unpack, tasks), self._options)


def _uncertain(error: ResultStoreUnavailable, ids: Sequence[str], what: str) -> SubmitUncertain:
    others = len(ids) - 1
    tasks = f"task {ids[0]} and {others} more" if others else f"task {ids[0]}"
    advice = "look them up by the error's task_ids" if others else "submit it again with the same key"
    rest = f": {what.format(tasks)}; {advice} to be sure"
    return SubmitUncertain(f"{error}{rest}", *ids, public=f"{error.public}{rest}")


def _checked(options: TaskOptions) -> TaskOptions:
    check_name("queue", options.queue)
    for name in ("delay", "retries", "timeout", "expires"):
        value = getattr(options, name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0
        ):
            raise ConfigError(f"{name}={value!r} must be a number of 0 or more")
        if value is not None and value > TEN_YEARS:
            raise ConfigError(f"{name}={value!r} is more than ten years of seconds")
    if options.retries is not None and not isinstance(options.retries, int):
        raise ConfigError(f"retries={options.retries!r} must be a whole number")
    if options.timeout == 0:
        raise ConfigError("timeout=0 would stop the task at once; leave it out for no limit")
    key: Any = options.key
    if key is not None and not (isinstance(key, str) and 1 <= len(key) <= 512 and _is_unicode(key)):
        raise ConfigError("key must be Unicode text of 1 to 512 characters")
    return options


def _is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which cannot be hashed or sent."""
    return text.encode(errors="replace").decode() == text


def _unpack(entry: Sequence[Any]) -> Submit:
    if isinstance(entry, (tuple, list)) and 2 <= len(entry) <= 3 and isinstance(entry[1], (tuple, list)):
        kwargs = entry[2] if len(entry) == 3 else {}
        if isinstance(kwargs, dict):
            return entry[0], entry[1], kwargs
    raise ConfigError(f"submit_many takes (name, args) or (name, args, kwargs), not {str(entry)[:80]!r}")
