"""Adding jobs: check, then insert."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

from queuer import additions
from queuer.cipher import Cipher
from queuer.context import current_rid
from queuer.database.database import Database, Work
from queuer.errors import DatabaseUnavailable, JobNotFound, NotPermitted
from queuer.foreign import is_a, shown
from queuer.models import Job
from queuer.options import NO_OPTIONS, Options
from queuer.payload import checked, is_plain, json_value
from queuer.repositories import archive, jobs
from queuer.rids import new_rid, new_rids
from queuer.sealing import sealed_new
from queuer.tasks import Task, TaskRegistry
from queuer.values import NewJob

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


_NO_KEYED: Mapping[str, Any] = MappingProxyType({})


class BatchJob(NamedTuple):  # a frozen dataclass takes five times as long to make
    """One of the jobs that `add_jobs` adds.

    Args:
        task: A registered callable, or a name.
        parameters, parameters_keyed: The arguments of the call.
        options: As for `add_job_with_options`.
    """

    task: Any
    parameters: Sequence[Any] = ()
    parameters_keyed: Mapping[str, Any] = _NO_KEYED
    options: Options | None = None


def prepare(
    registry: TaskRegistry,
    task: object,
    parameters: Sequence[Any],
    parameters_keyed: Mapping[str, Any],
    options: Options | None,
    cipher: Cipher,
    rid: UUID | None = None,
) -> NewJob:
    """A job that is fit to be inserted, encrypted if there is a key, under a new rid unless one is given.

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
    job = NewJob(rid or new_rid(), name, written, written_keyed, options or NO_OPTIONS, current_rid())
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


def add_batch(database: Database, registry: TaskRegistry, batch: Iterable[BatchJob]) -> list[UUID]:
    """Adds many jobs: all of them, or none when one is refused."""
    rids = database.run_single(adding_batch(registry, batch, database.cipher), tries=1)
    additions.tell_settled(rids)
    return rids


async def add_batch_async(database: Database, registry: TaskRegistry, batch: Iterable[BatchJob]) -> list[UUID]:
    """`add_batch` for a coroutine."""
    rids = await database.run_single_async(adding_batch(registry, batch, database.cipher), tries=1)
    await additions.tell_settled_async(rids)
    return rids


def adding_batch(registry: TaskRegistry, batch: Iterable[BatchJob], cipher: Cipher) -> Work[list[UUID]]:
    """The work of adding many jobs by COPY: all of them, or none when one is refused."""

    def work(session: "Session") -> list[UUID]:
        notes: list[NewJob] = []
        rids = jobs.insert_many(session, additions.noted(_prepared(registry, batch, cipher), notes))
        additions.tell_inserted(session, notes)
        return rids

    return work


def adding_batch_in_savepoint(registry: TaskRegistry, batch: Iterable[BatchJob], cipher: Cipher) -> Work[list[UUID]]:
    """`adding_batch` in a transaction that goes on when a job is refused: the batch may be a generator, so that may
    happen when others have been sent."""

    def work(session: "Session") -> list[UUID]:
        with session.begin_nested():
            return adding_batch(registry, batch, cipher)(session)

    return work


def _prepared(registry: TaskRegistry, batch: Iterable[BatchJob], cipher: Cipher) -> Iterator[NewJob]:
    rids, parent_rid, is_clear = new_rids(), current_rid(), not cipher.has_keys
    resolved: dict[object, tuple[str, Task | None]] = {}
    for number, item in enumerate(batch):
        try:
            if is_clear and _is_bare(item):
                name, known = resolved.get(item.task) or resolved.setdefault(item.task, registry.resolve(item.task))
                if known is None or (known.arguments is None and known.fits(len(item.parameters))):
                    yield NewJob(next(rids), name, item.parameters[:], None, NO_OPTIONS, parent_rid)
                    continue
            _check_item(item)
            yield prepare(registry, item.task, item.parameters, item.parameters_keyed, item.options, cipher, next(rids))
        except Exception as error:
            error.add_note(f"in item {number} of the batch; none of its jobs was added")
            raise


def _is_bare(item: object) -> bool:
    """Whether all that is left to do is to look at the task. Most jobs of large batches are like that."""
    return (
        type(item) is BatchJob
        and type(item.parameters) is list
        and item.options is None
        and (item.parameters_keyed is _NO_KEYED or (type(item.parameters_keyed) is dict and not item.parameters_keyed))
        and type(item.task) in (FunctionType, str)
        and is_plain(item.parameters)
    )


def _check_item(item: object) -> None:
    if not is_a(item, BatchJob):
        raise TypeError(f"the item is {shown(item)}; allowed is a BatchJob")
    job = cast("BatchJob", item)
    if not is_a(job.parameters, (list, tuple)) or not is_a(job.parameters_keyed, Mapping):
        raise TypeError(f"the item has no list of parameters, or no dict of keyed ones: {shown(item)}")
