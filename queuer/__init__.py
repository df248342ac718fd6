"""A job queue on PostgreSQL that feels native in SQLAlchemy applications."""

import logging

from queuer.client import StaticQueuer
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
    QueuerError,
    SchemaTooNew,
    TaskAlreadyRegistered,
    TaskNotRegistered,
    WorkerLost,
    WorkerNotFound,
)
from queuer.models import Job, JobArchive, Master, Worker
from queuer.operations.enqueue import BatchJob
from queuer.options import MasterSettings, OnError, Options, Schedule
from queuer.queuer import Queuer, new_queuer, new_queuer_with_db, new_static_queuer
from queuer.states import JobStatus, RetryBackoff, WorkerStatus
from queuer.subscriptions import Subscription
from queuer.tasks import Task, task
from queuer.values import Connection

__version__ = "0.1.0"

__all__ = [
    "BatchJob",
    "ConfigurationError",
    "Connection",
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
    "MasterSettings",
    "NoCurrentJob",
    "OnError",
    "Options",
    "Queuer",
    "QueuerError",
    "RetryBackoff",
    "Schedule",
    "SchemaTooNew",
    "StaticQueuer",
    "Subscription",
    "Task",
    "TaskAlreadyRegistered",
    "TaskNotRegistered",
    "Worker",
    "WorkerLost",
    "WorkerNotFound",
    "WorkerStatus",
    "current_job",
    "new_queuer",
    "new_queuer_with_db",
    "new_static_queuer",
    "task",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
