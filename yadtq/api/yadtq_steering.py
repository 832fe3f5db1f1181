"""What a person does to tasks through a client: cancel, retry, delete, submit again with other arguments; one or many."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_task import CANCELLABLE, RETRYABLE, Task, TaskOptions, TaskStatus
from yadtq.core.yadtq_views import TaskDetail, Views
from yadtq.errors import IllegalMove, ResultStoreUnavailable, TaskNotFound, YadtqError

logger = logging.getLogger(__name__)

BATCH = 200  # tasks of one call to Redis


@dataclass(frozen=True)
class BulkOutcome:
    """What became of many."""

    done: list[str] = field(default_factory=list)  # ids
    refused: dict[str, str] = field(default_factory=dict)  # id -> why, in words


@dataclass(frozen=True)
class Call:
    """What a task was submitted with."""

    args: Sequence[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]  # retries and timeout, where given


class TaskSteering:
    """The part of the client that moves tasks which are there."""

    def __init__(self, broker: Broker, result_store: ResultStore) -> None:
        self._broker = broker
        self._store = result_store
        self._views = Views(result_store)

    # -- one ---------------------------------------------------------------------------------------

    def cancel(self, task_id: str, *, by: str = "") -> TaskStatus:
        """Cancel a waiting task, or ask a running one to stop; returns the status it then has.

        ``by`` is the person, for the task's history.

        Raises:
            TaskNotFound, IllegalMove (it has ended), ResultStoreUnavailable
        """
        asked_at = self._store.patiently(self._store.time_ms)
        status = self._store.patiently(lambda: self._store.cancel(task_id, asked_at, by))
        if status == "stopping":
            return TaskStatus.PROCESSING
        found = _known(task_id, status)
        if found is not TaskStatus.CANCELLED and found not in CANCELLABLE:
            raise IllegalMove(
                f"task {task_id} has already ended: {found}; only one that waits or runs can be cancelled"
            )
        return found

    def retry(self, task_id: str, *, by: str = "") -> TaskStatus:
        """Queue a failed, cancelled or expired task again, from its first attempt; returns the status it then has.

        Raises:
            TaskNotFound, IllegalMove (it waits, runs or succeeded), ResultStoreUnavailable, BrokerUnavailable
        """
        asked_at = self._store.patiently(self._store.time_ms)
        answer = self._store.patiently(lambda: self._store.retry(task_id, asked_at, by=by))
        if answer[0] == "NOENVELOPE":
            _, envelope = self._read_back(task_id, answer[1], answer[3], answer[4])
            answer = self._store.patiently(lambda: self._store.retry(task_id, asked_at, envelope, by))
        found = _known(task_id, answer[0])
        if found is not TaskStatus.QUEUED and found not in RETRYABLE:  # one of these: it has run and ended again
            allowed = ", ".join(sorted(status.value for status in RETRYABLE))
            raise IllegalMove(f"task {task_id} is {found}; only a task that is one of {allowed} can be retried")
        return found

    def delete(self, task_id: str, *, by: str = "") -> None:
        """Delete a task with all that is kept of it; one that waits is cancelled first.

        Raises:
            TaskNotFound, IllegalMove (it runs: it was asked to stop), ResultStoreUnavailable
        """
        outcome = self.delete_many([task_id], by=by)
        if task_id in outcome.refused:
            why = outcome.refused[task_id]
            raise (TaskNotFound if why == _UNKNOWN else IllegalMove)(f"task {task_id[:140]!r}: {why}")

    def resubmit(
        self,
        task_id: str,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        *,
        by: str = "",
        key: str | None = None,
    ) -> str:
        """Submit a task again as a new one, with other arguments where given; both histories tell of it.

        Name, queue, retries and time limit are the old one's. With ``key``, a repeat gives the first new one's id.

        Raises:
            TaskNotFound: there is no such task, or its arguments are gone and not all were given.
            TaskNotSerializable, PayloadTooLarge, ResultStoreUnavailable, SubmitUncertain, BrokerUnavailable
        """
        old = self._store.patiently(lambda: self._views.task(task_id))
        whole = args is not None and kwargs is not None
        known = Call(args or [], kwargs or {}, old.options) if whole else self._call_of(old)
        call = (
            old.result.name,
            known.args if args is None else args,
            known.kwargs if kwargs is None else kwargs,
        )
        new_id = self._accept([call], TaskOptions(queue=old.result.queue, key=key, **known.options))[0]
        try:
            self._note_resubmit(task_id, new_id, by)
        except ResultStoreUnavailable as error:  # the new task is accepted all the same
            logger.warning("task %s is submitted, but not noted as made from task %s: %s", new_id, task_id, error)
        return new_id

    def arguments(self, task_id: str) -> Call:
        """A task's arguments and options, whole, read back from Kafka where Redis has only a preview.

        Raises:
            TaskNotFound: there is no such task, or its arguments are gone.
            ResultStoreUnavailable, BrokerUnavailable, RejectedRecord
        """
        return self._call_of(self._store.patiently(lambda: self._views.task(task_id)))

    # -- many --------------------------------------------------------------------------------------

    def cancel_many(self, ids: Iterable[str], *, by: str = "") -> BulkOutcome:
        """As :meth:`cancel`, in one call to Redis per 200; repeating it changes nothing."""
        asked_at = self._store.patiently(self._store.time_ms)
        return _gather(
            ids,
            lambda batch: self._store.patiently(lambda: self._store.cancel_many(batch, asked_at, by)),
            done={"stopping", *(str(status) for status in CANCELLABLE), "cancelled"},
        )

    def retry_many(self, ids: Iterable[str], *, by: str = "") -> BulkOutcome:
        """As :meth:`retry`, in one call to Redis per 200; repeating it changes nothing."""
        asked_at = self._store.patiently(self._store.time_ms)
        return _gather(ids, lambda batch: self._retry_batch(batch, asked_at, by), done={"queued"})

    def delete_many(self, ids: Iterable[str], *, by: str = "") -> BulkOutcome:
        """As :meth:`delete`, in one call to Redis per 200; repeating it changes nothing."""
        return _gather(
            ids, lambda batch: self._store.patiently(lambda: self._store.delete_many(batch, by)), done={"deleted"}
        )

    # -- inside ------------------------------------------------------------------------------------

    def _note_resubmit(self, task_id: str, new_id: str, by: str) -> None:
        at = self._store.patiently(self._store.time_ms)
        lines = [("resubmit", task_id, new_id), ("resubmitted", new_id, task_id)]
        entries = [
            (one, json.dumps({"action": action, "by": by, "at": at, "task": other})) for action, one, other in lines
        ]
        self._store.patiently(lambda: self._store.note(entries))

    def _retry_batch(self, batch: Sequence[str], asked_at: int, by: str) -> list[str]:
        tasks = [(task_id, b"") for task_id in batch]
        answers = self._store.patiently(lambda: self._store.retry_many(tasks, asked_at, by))
        return [
            self._retry_alone(task_id, by) if words[0] == "NOENVELOPE" else words[0]
            for task_id, words in zip(batch, answers, strict=True)
        ]

    def _retry_alone(self, task_id: str, by: str) -> str:
        """One whose envelope only Kafka still has: the status it then has, or why not."""
        try:
            return str(self.retry(task_id, by=by))
        except YadtqError as error:
            return str(error)

    def _call_of(self, detail: TaskDetail) -> Call:
        if detail.args is not None:
            return Call(detail.args, detail.kwargs or {}, detail.options)
        old = detail.result
        place = ("" if old.partition is None else str(old.partition), "" if old.offset is None else str(old.offset))
        task, _ = self._read_back(old.id, old.queue, *place)
        given = {"retries": task.retries, "timeout": task.timeout}
        return Call(list(task.args), task.kwargs, {name: value for name, value in given.items() if value is not None})

    def _read_back(self, task_id: str, queue: str, partition: str, offset: str) -> tuple[Task, bytes]:
        """A task that only Kafka still holds, and its sealed envelope."""
        topic = self._broker.topic_of(queue)
        received = self._broker.read_back(topic, int(partition), int(offset)) if offset else None
        if received is not None:
            _, task = self._broker.codec.read(topic, received.header, received.body)
            if task.id == task_id:  # else the topic was made anew meanwhile, or Kafka had lost its end
                return task, self._broker.codec.seal(topic, received.body)
        raise TaskNotFound(f"the arguments of task {task_id} are gone from Redis and Kafka; submit it again")

    def _accept(self, calls: Sequence[tuple[str, Sequence[Any], dict[str, Any]]], options: TaskOptions) -> list[str]:
        raise NotImplementedError


_UNKNOWN = "there is no such task, or its result has passed its time to live"
_STATES = frozenset(str(status) for status in TaskStatus)


def _gather(ids: Iterable[str], move: Callable[[list[str]], list[str]], done: set[str]) -> BulkOutcome:
    outcome = BulkOutcome()
    for batch in _batches(ids):
        for task_id, word in zip(batch, move(batch), strict=True):
            if word in done:
                outcome.done.append(task_id)
            else:
                outcome.refused[task_id] = _why(word)
    return outcome


def _why(word: str) -> str:
    if word == "stopping":
        return "it runs: it was asked to stop; delete it once it has ended"
    if word in _STATES:
        return f"it is {word}"
    return word or _UNKNOWN


def _batches(ids: Iterable[str]) -> Iterator[list[str]]:
    wanted = list(dict.fromkeys(ids))
    for start in range(0, len(wanted), BATCH):
        yield wanted[start : start + BATCH]


def _known(task_id: str, status: str) -> TaskStatus:
    if not status:
        raise TaskNotFound(f"there is no task {task_id[:140]!r}, or its result has passed its time to live")
    return TaskStatus(status)
