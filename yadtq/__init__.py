"""YADTQ: a task queue on Kafka and Redis. These are the public names."""

from yadtq.api.yadtq_client import TaskClient
from yadtq.api.yadtq_factory import create_yadtq
from yadtq.api.yadtq_registry import task
from yadtq.api.yadtq_worker import TaskWorker
from yadtq.core.yadtq_task import TaskResult, TaskStatus
from yadtq.errors import (
    BrokerUnavailable,
    ConfigError,
    DoNotRetry,
    IllegalMove,
    InvalidName,
    PayloadTooLarge,
    ResultStoreUnavailable,
    ResultTimeout,
    ServerError,
    SubmitUncertain,
    TaskCancelled,
    TaskError,
    TaskNotFound,
    TaskNotSerializable,
    TaskTimeout,
    WorkerError,
    WorkerFailed,
    WorkerNotFound,
    YadtqError,
)

__all__ = [
    "BrokerUnavailable",
    "ConfigError",
    "DoNotRetry",
    "IllegalMove",
    "InvalidName",
    "PayloadTooLarge",
    "ResultStoreUnavailable",
    "ResultTimeout",
    "ServerError",
    "SubmitUncertain",
    "TaskCancelled",
    "TaskClient",
    "TaskError",
    "TaskNotFound",
    "TaskNotSerializable",
    "TaskResult",
    "TaskStatus",
    "TaskTimeout",
    "TaskWorker",
    "WorkerError",
    "WorkerFailed",
    "WorkerNotFound",
    "YadtqError",
    "create_yadtq",
    "task",
]
