"""A job queue on PostgreSQL that feels native in SQLAlchemy applications."""

import importlib
import logging
from typing import TYPE_CHECKING

from queuer.context import CurrentJob, current_job
from queuer.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    DecryptionError,
    InvalidParameters,
    JobCancelled,
    JobInterrupted,
    JobNotFound,
    JobTimeout,
    NoCurrentJob,
    NotPermitted,
    ProcessDied,
    QueuerError,
    ReadOnlyModel,
    SchemaTooNew,
    TaskAlreadyRegistered,
    TaskNotImportable,
    TaskNotRegistered,
    WorkerLost,
    WorkerNotFound,
)
from queuer.options import MasterSettings, OnError, Options, Schedule
from queuer.states import JobStatus, RetryBackoff, WorkerStatus
from queuer.tasks import Task, task
from queuer.values import Connection

if TYPE_CHECKING:
    from queuer.client import StaticQueuer
    from queuer.config import DatabaseConfiguration
    from queuer.database.embedded import default_configuration
    from queuer.factories import new_queuer, new_queuer_with_db, new_queuer_with_engine, new_static_queuer
    from queuer.models import Job, JobArchive, Master, Worker
    from queuer.operations.batch import BatchJob
    from queuer.operations.rotate import Rotation
    from queuer.queuer import Queuer
    from queuer.rotation import rotate_encryption
    from queuer.subscriptions import Subscription

__version__ = "0.1.0"

__all__ = [
    "BatchJob",
    "ConfigurationError",
    "Connection",
    "CurrentJob",
    "DatabaseConfiguration",
    "DatabaseUnavailable",
    "DecryptionError",
    "InvalidParameters",
    "Job",
    "JobArchive",
    "JobCancelled",
    "JobInterrupted",
    "JobNotFound",
    "JobStatus",
    "JobTimeout",
    "Master",
    "MasterSettings",
    "NoCurrentJob",
    "NotPermitted",
    "OnError",
    "Options",
    "ProcessDied",
    "Queuer",
    "QueuerError",
    "ReadOnlyModel",
    "RetryBackoff",
    "Rotation",
    "Schedule",
    "SchemaTooNew",
    "StaticQueuer",
    "Subscription",
    "Task",
    "TaskAlreadyRegistered",
    "TaskNotImportable",
    "TaskNotRegistered",
    "Worker",
    "WorkerLost",
    "WorkerNotFound",
    "WorkerStatus",
    "current_job",
    "default_configuration",
    "new_queuer",
    "new_queuer_with_db",
    "new_queuer_with_engine",
    "new_static_queuer",
    "rotate_encryption",
    "task",
]

#: What stands on SQLAlchemy is imported when it is first used. A child process that only runs a task is ready in a
#: sixth of the time without it, and takes a quarter of the memory.
_IMPORTED_LATER = {
    "BatchJob": "queuer.operations.batch",
    "DatabaseConfiguration": "queuer.config",
    "Job": "queuer.models",
    "JobArchive": "queuer.models",
    "Master": "queuer.models",
    "Queuer": "queuer.queuer",
    "Rotation": "queuer.operations.rotate",
    "StaticQueuer": "queuer.client",
    "Subscription": "queuer.subscriptions",
    "Worker": "queuer.models",
    "default_configuration": "queuer.database.embedded",
    "new_queuer": "queuer.factories",
    "new_queuer_with_db": "queuer.factories",
    "new_queuer_with_engine": "queuer.factories",
    "new_static_queuer": "queuer.factories",
    "rotate_encryption": "queuer.rotation",
}

if not TYPE_CHECKING:  # type checkers would take every name for one of ours

    def __getattr__(name: str) -> object:
        if name not in _IMPORTED_LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_IMPORTED_LATER[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


logging.getLogger(__name__).addHandler(logging.NullHandler())
