"""The errors YADTQ raises. Each message says what happened and what to do next.

YadtqError
├── ConfigError                a setting is unknown, contradictory or out of range
├── TaskError
│   ├── TaskNotFound           no task with this id (or its result has passed its time to live)
│   ├── TaskNotSerializable    an argument is not JSON; names the argument
│   ├── PayloadTooLarge        a record over 512 KiB
│   ├── InvalidName            a task, queue or worker name outside [A-Za-z0-9_.:-]{1,128}
│   ├── IllegalMove            the task's state does not allow what was asked
│   └── ResultTimeout          the task has not ended in the time given
├── ServerError
│   ├── BrokerUnavailable      Kafka cannot be reached
│   └── ResultStoreUnavailable Redis cannot be reached, is full, or refused
│       └── SubmitUncertain    the reply to a submit was lost, or the disk did not confirm it; carries the id
├── WorkerError
│   ├── WorkerNotFound         no worker with this id or name is online
│   └── WorkerFailed           a worker could not go on: its threads hang, or a part of it failed
├── InvalidQuery               a search that cannot be understood; says what is allowed
├── RejectedRecord             a record that cannot be trusted or read; carries the reason
├── EmbeddedError              an embedded server could not be started
├── TaskTimeout                raised inside a task whose time limit has passed
├── TaskCancelled              raised inside a task that a person has cancelled
└── DoNotRetry                 raised by a task to fail at once, whatever retries are left
"""

from __future__ import annotations


class YadtqError(Exception):
    """The base of every error of this package."""


class ConfigError(YadtqError):
    """A setting is unknown, contradicts another one, or has a value that cannot be used."""


class TaskError(YadtqError):
    """The base of errors about one task."""


class TaskNotFound(TaskError):
    """No task has this id, or its result has passed its time to live."""


class TaskNotSerializable(TaskError):
    """An argument or option is not JSON; the message names it."""


class PayloadTooLarge(TaskError):
    """The task's record would be larger than 512 KiB; pass a reference to the data instead."""


class InvalidName(TaskError):
    """A task, queue or worker name has characters outside ``[A-Za-z0-9_.:-]`` or is over 128 long."""


class IllegalMove(TaskError):
    """The task's present state does not allow what was asked, e.g. retry of a running task."""


class ResultTimeout(TaskError):
    """The task has not ended within the time given; it goes on, ask again later."""


class ServerError(YadtqError):
    """The base of errors about Kafka and Redis.

    ``kind`` is ``away`` (it may pass by itself), ``full`` or ``refused`` (the server answers, and says no).
    ``public`` says the same without addresses and server's words, for pages that anybody can open.
    """

    def __init__(self, message: str, *, kind: str = "away", public: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.public = public or message


class BrokerUnavailable(ServerError):
    """Kafka cannot be reached or refused; the message says at which address and why."""


class ResultStoreUnavailable(ServerError):
    """Redis cannot be reached, is full, or refused; the message says at which address and why."""


class SubmitUncertain(ResultStoreUnavailable):
    """The reply to a submit was lost and could not be confirmed, or with ``durable`` Redis did not write it to disk in time.

    ``task_id`` may or may not have been accepted, as the message says: submit again with the same ``key`` to be sure.
    The same holds of all ``task_ids`` where several were submitted at once; ``task_id`` is the first of them.
    """

    def __init__(self, message: str, *task_ids: str, public: str = "") -> None:
        super().__init__(message, public=public)
        self.task_ids = task_ids
        self.task_id = task_ids[0]


class WorkerError(YadtqError):
    """The base of errors about one worker."""


class WorkerNotFound(WorkerError):
    """No worker with this id or name is online, so none can be asked for anything."""


class WorkerFailed(WorkerError):
    """A worker has stopped because it could not go on; start it again."""


class InvalidQuery(YadtqError):
    """A search that cannot be understood; the message says where, and what is allowed."""


class RejectedRecord(YadtqError):
    """A Kafka record that cannot be trusted or read; ``str(error)`` is the reason kept beside it."""


class EmbeddedError(YadtqError):
    """An embedded Kafka or Redis could not be started."""


class TaskTimeout(YadtqError):
    """Raised inside a task whose time limit has passed."""


class TaskCancelled(YadtqError):
    """Raised inside a task that a person has cancelled."""


class DoNotRetry(YadtqError):
    """Raise it in a task to fail at once, whatever retries are left."""
