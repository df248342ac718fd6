"""A job queue on PostgreSQL that feels native in SQLAlchemy applications."""

import logging

from queuer.config import DatabaseConfiguration
from queuer.context import CurrentJob, current_job
from queuer.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    InvalidParameters,
    JobCancelled,
    JobInterrupted,
    JobNotFound,
    JobTimeout,
    NoCurrentJob,
    ProcessDied,
    QueuerError,
    SchemaTooNew,
    TaskAlreadyRegistered,
    TaskNotImportable,
    TaskNotRegistered,
    WorkerNotFound,
)
from queuer.models import Job, JobArchive, Master, Worker
from queuer.operations.enqueue import BatchJob
from queuer.options import OnError, Options, Schedule
from queuer.queuer import Queuer, new_queuer, new_queuer_with_db
from queuer.states import JobStatus, RetryBackoff, WorkerStatus
from queuer.tasks import Task, task

__version__ = "0.1.0"

__all__ = [
    "BatchJob",
    "ConfigurationError",
    "CurrentJob",
    "DatabaseConfiguration",
    "DatabaseUnavailable",
    "InvalidParameters",
    "Job",
    "JobArchive",
    "JobCancelled",
    "JobInterrupted",
    "JobNotFound",
    "JobStatus",
    "JobTimeout",
    "Master",
    "NoCurrentJob",
    "OnError",
    "Options",
    "ProcessDied",
    "Queuer",
    "QueuerError",
    "RetryBackoff",
    "Schedule",
    "SchemaTooNew",
    "Task",
    "TaskAlreadyRegistered",
    "TaskNotImportable",
    "TaskNotRegistered",
    "Worker",
    "WorkerNotFound",
    "WorkerStatus",
    "current_job",
    "new_queuer",
    "new_queuer_with_db",
    "task",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
