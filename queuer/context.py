"""`current_job()`: which job the code at hand runs for. A context variable, so it holds in threads and coroutines."""

import multiprocessing
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, NamedTuple
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
        reason = _interrupted.get()()
        if reason is not None:
            raise reason


_current: ContextVar[CurrentJob | None] = ContextVar("queuer_current_job", default=None)


def _never() -> None:
    return None


_interrupted: ContextVar[Callable[[], Exception | None]] = ContextVar("queuer_interrupted", default=_never)


def current_job() -> CurrentJob:
    """The job that runs here.

    Raises:
        NoCurrentJob: Not inside a task, or in a thread that the task started without `contextvars.copy_context()`.
    """
    job = _current.get()
    if job is None:
        raise NoCurrentJob("there is no current job here; call current_job() inside a task")
    return job


def current_rid() -> UUID | None:
    """The rid of the job that runs here, or None outside one."""
    job = _current.get()
    return job.rid if job else None


#: Of the child processes in which workers run tasks. Python gives a process its name before it imports `__main__`.
CHILD_NAME = "queuer child"


def in_child_process() -> bool:
    """Whether this is a child process in which a worker runs tasks."""
    return multiprocessing.current_process().name == CHILD_NAME


def enter_job(job: CurrentJob | None, interrupted: Callable[[], Exception | None] = _never) -> None:
    """Makes `job` the current one of this thread or coroutine; None leaves it.

    Args:
        interrupted: What the job was interrupted with, if it was.
    """
    _current.set(job)
    _interrupted.set(interrupted)
