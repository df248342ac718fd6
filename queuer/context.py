"""`current_job()`: which job the code at hand runs for. A context variable, so it holds in threads and coroutines."""

import multiprocessing
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from queuer.errors import NoCurrentJob


class CurrentJob(NamedTuple):
    """What a task may know of the job it runs for."""

    rid: UUID
    attempt: int
    task_name: str
    metadata: Mapping[str, Any] = MappingProxyType({})

    def raise_if_cancelled(self) -> None:
        """For a task that drops exceptions, or works where none can reach it: a place where it may be interrupted.

        Not needed where the task does nothing unusual. In a child process it does nothing: there SIGTERM comes.

        Raises:
            JobCancelled: The job was cancelled.
            JobTimeout: Its time is up.
            JobInterrupted: The worker stops.
        """
        running = _running.get()
        if running is not None and running.interrupted_by is not None:
            raise running.interrupted_by


class Running(Protocol):
    """An attempt at a job."""

    @property
    def current_job(self) -> CurrentJob:
        """What its task may know of the job. Made when it is asked for: most tasks never do."""

    @property
    def interrupted_by(self) -> Exception | None:
        """What it was interrupted with, if it was."""


class Alone(NamedTuple):
    """An attempt that only a signal can interrupt."""

    current_job: CurrentJob
    interrupted_by: None = None


_running: ContextVar[Running | None] = ContextVar("queuer_running", default=None)


def current_job() -> CurrentJob:
    """The job that runs here.

    Raises:
        NoCurrentJob: Not inside a task, or in a thread that the task started without `contextvars.copy_context()`.
    """
    running = _running.get()
    if running is None:
        raise NoCurrentJob("there is no current job here; call current_job() inside a task")
    return running.current_job


def current_rid() -> UUID | None:
    """The rid of the job that runs here, or None outside one."""
    running = _running.get()
    return running.current_job.rid if running else None


#: Of the child processes in which workers run tasks. Python gives a process its name before it imports `__main__`.
CHILD_NAME = "queuer child"


def in_child_process() -> bool:
    """Whether this is a child process in which a worker runs tasks."""
    return multiprocessing.current_process().name == CHILD_NAME


def enter_job(running: Running | None) -> None:
    """Makes its job the current one of this thread or coroutine; None leaves it."""
    _running.set(running)
