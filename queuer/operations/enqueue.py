"""Adding a job: check, then insert."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from queuer import additions
from queuer.cipher import Cipher
from queuer.context import current_rid
from queuer.database.database import Database, Work
from queuer.errors import DatabaseUnavailable, JobNotFound, NotPermitted
from queuer.foreign import is_a, shown
from queuer.models import Job
from queuer.options import NO_OPTIONS, Options
from queuer.payload import checked, json_value
from queuer.repositories import archive, jobs
from queuer.rids import new_rid
from queuer.sealing import sealed_new
from queuer.tasks import TaskRegistry
from queuer.values import NewJob

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def prepare(
    registry: TaskRegistry,
    task: object,
    parameters: Sequence[Any],
    parameters_keyed: Mapping[str, Any],
    options: Options | None,
    cipher: Cipher,
) -> NewJob:
    """A job that is fit to be inserted, encrypted if there is a key, under a new rid.

    Raises:
        TaskNotRegistered: The task is a callable that is not registered.
        InvalidParameters: The arguments do not fit the task's signature or its annotations, or JSON can't hold them or
            the metadata.
    """
    if options is not None and not is_a(options, Options):
        raise TypeError(f"options is {shown(options)}; allowed is an Options or None")
    name, known = registry.resolve(task)
    written = json_value(parameters, "parameters")
    written_keyed = json_value(parameters_keyed, "parameters_keyed")
    if known is not None:
        known.check_arguments(written, written_keyed)
    if known is not None and known.arguments is not None:
        known.arguments.read(written, written_keyed)  # as the worker will: what it can't read is refused here
    if options is not None and options.metadata is not None:
        options = replace(options, metadata=checked(options.metadata, "metadata"))
    job = NewJob(new_rid(), name, written, written_keyed, options or NO_OPTIONS, current_rid())
    return sealed_new(cipher, job)


def add(database: Database, job: NewJob) -> Job:
    """Adds one job. When a connection breaks over it, tries again under the same rid.

    Who may add jobs but not read them gets the job without what the database adds, and is tried once.
    """
    try:
        if job.is_plain and not database.is_write_only and not additions.watchers:
            return database.run_direct(lambda session: jobs.insert_plain(session, job))
        added = database.run_single(adding(job, is_seen=not database.is_write_only))
    except DatabaseUnavailable:  # perhaps it was added, and the answer is what was lost
        if database.is_write_only:
            raise
        added = database.run(adding_again(job))
    except NotPermitted:
        added = database.run_single(adding(job, is_seen=False))
        database.is_write_only = True
    additions.tell_settled([job.rid])
    return added


async def add_async(database: Database, job: NewJob) -> Job:
    """`add` for a coroutine."""
    try:
        added = await database.run_single_async(adding(job, is_seen=not database.is_write_only))
    except DatabaseUnavailable:
        if database.is_write_only:
            raise
        added = await database.run_async(adding_again(job))
    except NotPermitted:
        added = await database.run_single_async(adding(job, is_seen=False))
        database.is_write_only = True
    await additions.tell_settled_async([job.rid])
    return added


def adding(job: NewJob, *, is_seen: bool = True) -> Work[Job]:
    """The work of adding one job: one statement.

    Args:
        is_seen: Whether who adds it may read it.
    """
    insert = jobs.insert_one if is_seen else jobs.insert_unseen

    def work(session: "Session") -> Job:
        inserted = insert(session, job)
        additions.tell_inserted(session, [job])
        return inserted

    return work


def adding_again(job: NewJob) -> Work[Job]:
    """The work of adding a job when nobody knows whether that was done: there is one such job afterwards, never two.

    Should it have been done, and the job have ended since, what is returned is that `JobArchive`.
    """

    def work(session: "Session") -> Job:
        inserted = jobs.insert_unless_there(session, job)  # waits for the first try, should that still be under way
        # In this order, since it may end between the two: a job goes from the one table to the other, never back.
        live = inserted or jobs.find(session, job.rid)
        ended = archive.find(session, [job.rid])
        if ended and inserted is not None:
            jobs.delete(session, job.rid)
        if ended:
            return cast("Job", ended[0])
        if live is None:
            raise JobNotFound(f"job {job.rid} was added, has ended, and was deleted meanwhile")
        additions.tell_inserted(session, [job])
        return live

    return work
