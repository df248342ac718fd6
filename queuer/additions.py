"""Who is told of the jobs that this process adds: nobody, but for the tests of an application; see `queuer.testing`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

from queuer.cipher import NO_KEYS, Cipher
from queuer.config import DatabaseConfiguration
from queuer.options import OnError
from queuer.tasks import TaskRegistry
from queuer.values import NewJob, PlainJobs, one_by_one

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Origin:
    """A queuer that adds jobs, as far as it could run them.

    Args:
        config: Of its database.
        on_error: For jobs that bring none of their own.
        functions: Its next-interval functions.
        cipher: Of its jobs.
        for_tasks: The database from which tasks get their sessions; None = the queuer runs no jobs.
    """

    tasks: TaskRegistry
    config: DatabaseConfiguration
    on_error: OnError | None = None
    functions: TaskRegistry | None = None
    for_tasks: Any = None
    cipher: Cipher = NO_KEYS


class Watcher(Protocol):
    """Is told of every job that a queuer of this process adds, in the thread or coroutine that adds it."""

    def inserted(self, session: "Session", jobs: Sequence[NewJob]) -> None:
        """Jobs were inserted in the session's transaction. Its `info` holds the `database` that inserted them and, when
        the transaction is a caller's, what was `given` to `in_session`."""

    def settled(self, rids: Sequence[UUID]) -> None:
        """Jobs that a queuer added in a transaction of its own are committed."""

    async def settled_async(self, rids: Sequence[UUID]) -> None:
        """`settled` for a coroutine."""


watchers: list[Watcher] = []

#: The queuers of this process, by the `Database` with which each adds jobs.
origins: WeakKeyDictionary[Any, Origin] = WeakKeyDictionary()


def noted(jobs: Iterator[NewJob | PlainJobs], notes: list[NewJob]) -> Iterator[NewJob | PlainJobs]:
    """Passes jobs on, and keeps them only if somebody will be told of them."""
    return _noted(jobs, notes) if watchers else jobs


def _noted(jobs: Iterator[NewJob | PlainJobs], notes: list[NewJob]) -> Iterator[NewJob]:
    for job in one_by_one(jobs):
        notes.append(job)
        yield job


def tell_inserted(session: "Session", jobs: Sequence[NewJob]) -> None:
    for watcher in watchers:
        watcher.inserted(session, jobs)


def tell_settled(rids: Sequence[UUID]) -> None:
    for watcher in watchers:
        watcher.settled(rids)


async def tell_settled_async(rids: Sequence[UUID]) -> None:
    for watcher in watchers:
        await watcher.settled_async(rids)
