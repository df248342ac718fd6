"""`current_job()`: which job the code at hand runs for. A context variable, so it holds in threads and coroutines."""

import multiprocessing
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from queuer.errors import NoCurrentJob


@dataclass(frozen=True, slots=True)
class CurrentJob:
    """What a task may know of the job it runs for."""

    rid: UUID
    attempt: int
    task_name: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


_current: ContextVar[CurrentJob | None] = ContextVar("queuer_current_job", default=None)


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


def enter_job(job: CurrentJob | None) -> None:
    """Makes `job` the current one of this thread or coroutine; None leaves it."""
    _current.set(job)
