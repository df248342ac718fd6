"""Finding jobs and workers."""

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING
from uuid import UUID

from queuer.database.database import Database
from queuer.errors import JobNotFound, WorkerNotFound
from queuer.foreign import plain_number, plain_text, shown
from queuer.models import Job, JobArchive, Worker
from queuer.repositories import archive, jobs, workers
from queuer.states import ENDED, LIVE, JobStatus
from queuer.tasks import TaskRegistry
from queuer.values import Connection, Page

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MOST_ENTRIES = 1000


def job(database: Database, rid: UUID) -> Job:
    """The live job with this rid. Raises `JobNotFound`."""
    found = database.run_single(lambda session: jobs.find(session, rid))
    if found is None:
        if ended(database, [rid]):
            raise JobNotFound(f"job {rid} has ended; use get_job_ended({str(rid)!r})")
        raise _unknown(rid)
    return found


def job_ended(database: Database, rid: UUID) -> JobArchive:
    """The ended job with this rid. Raises `JobNotFound`."""
    found = ended(database, [rid])
    if not found:
        if database.run_single(lambda session: jobs.find(session, rid)) is not None:
            raise JobNotFound(f"job {rid} has not ended; use get_job({str(rid)!r}), or wait_for_job_finished")
        raise _unknown(rid)
    return found[0]


def _unknown(rid: UUID) -> JobNotFound:
    return JobNotFound(f"there is no job {rid}; it was never added here, or was deleted from the archive")


def ended(database: Database, rids: Collection[UUID]) -> Sequence[JobArchive]:
    """The ended ones among these jobs."""
    return database.run_single(lambda session: archive.find(session, rids))


def ended_or_none_yet(session: "Session", rid: UUID) -> JobArchive | None:
    """The job, if it has ended. Raises `JobNotFound` when there is none that could end."""
    # Twice: it may move to the archive between the first look there and the look at the live ones.
    found = archive.find(session, [rid])
    if not found and jobs.find(session, rid) is None:
        found = archive.find(session, [rid])
        if not found:
            raise _unknown(rid)
    return found[0] if found else None


def wherever(database: Database, ids: Collection[int], rids: Collection[UUID]) -> Sequence[Job | JobArchive]:
    """Jobs by their ids or rids, live or ended, in the order of their ids."""

    def work(session: "Session") -> list[Job | JobArchive]:
        found: dict[UUID, Job | JobArchive] = {}
        if ids:  # the archive last: a job may move there between the two looks
            found = {job.rid: job for job in jobs.find_by_ids(session, ids)}
            left = set(ids) - {job.id for job in found.values()}
            found |= {job.rid: job for job in archive.find_by_ids(session, left)}
        if rids:
            found |= {job.rid: job for job in jobs.find_all(session, rids)}
            found |= {job.rid: job for job in archive.find(session, set(rids) - found.keys())}
        return sorted(found.values(), key=attrgetter("id"))

    return database.run_single(work)


def read_result(registry: TaskRegistry, job: JobArchive) -> JobArchive:
    """The same job, its result converted as the task's return annotation says, when the task is known here."""
    task = registry.get(job.task_name)
    if task is not None and task.result is not None:
        job.read_result(task.result.read)
    return job


def page(database: Database, wanted: Page) -> Sequence[Job]:
    """Live jobs, newest first."""
    return database.run_single(lambda session: jobs.page(session, wanted))


def page_ended(database: Database, wanted: Page) -> Sequence[JobArchive]:
    """Ended jobs, newest first."""
    return database.run_single(lambda session: archive.page(session, wanted))


def worker(database: Database, rid: UUID) -> Worker:
    """The worker with this rid. Raises `WorkerNotFound`."""
    found = database.run_single(lambda session: workers.find(session, rid))
    if found is None:
        raise WorkerNotFound(f"there is no worker {rid}; it was never here, or was deleted long after it stopped")
    return found


def page_workers(database: Database, wanted: Page) -> Sequence[Worker]:
    """Workers, newest first."""
    return database.run_single(lambda session: workers.page(session, wanted))


def connections(database: Database) -> Sequence[Connection]:
    """The connections that queuers have to this database."""
    return database.run_single(workers.connections)


def searched(text: object) -> str:
    """Takes a text to search for. Raises `ValueError` for anything else."""
    plain = plain_text(text)
    if plain is None or "\0" in plain or any(0xD800 <= ord(character) <= 0xDFFF for character in plain):
        raise ValueError(f"the text to search for is {shown(text)}; allowed is a str without NUL or lone surrogates")
    return plain


def live(
    last_id: int, entries: int, status: JobStatus | str | None = None, text: str | None = None, **more: UUID
) -> Page:
    """A page of live jobs. Raises `ValueError` for what makes no sense."""
    return _page(last_id, entries, status, text, LIVE, **more)


def archived(
    last_id: int, entries: int, status: JobStatus | str | None = None, text: str | None = None, **more: UUID
) -> Page:
    """A page of ended jobs. Raises `ValueError` for what makes no sense."""
    return _page(last_id, entries, status, text, ENDED, **more)


def _page(
    last_id: int,
    entries: int,
    status: JobStatus | str | None,
    text: str | None,
    allowed: Sequence[JobStatus],
    **more: UUID,
) -> Page:
    below, most = plain_number(last_id), plain_number(entries)
    if not isinstance(below, int) or not 0 <= below < 2**63:
        raise ValueError(
            f"last_id is {shown(last_id)}; allowed is the id of a job or worker, or 0 to begin with the newest"
        )
    if not isinstance(most, int) or not 1 <= most <= MOST_ENTRIES:
        raise ValueError(f"entries is {shown(entries)}; allowed are 1 to {MOST_ENTRIES}")
    if status is not None and plain_text(status) not in list(allowed):
        raise ValueError(f"status is {shown(status)}; allowed are {', '.join(repr(s.value) for s in allowed)}, or None")
    return Page(below, most, JobStatus(status) if status is not None else None, text=text, **more)
