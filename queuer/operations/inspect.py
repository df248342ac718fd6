"""Finding jobs."""

from collections.abc import Collection, Sequence
from uuid import UUID

from queuer.database.database import Database
from queuer.errors import JobNotFound
from queuer.models import Job, JobArchive
from queuer.repositories import archive, jobs
from queuer.states import ENDED, LIVE, JobStatus
from queuer.tasks import TaskRegistry

MOST_ENTRIES = 1000


def job(database: Database, rid: UUID) -> Job:
    """The live job with this rid. Raises `JobNotFound`."""
    found = database.run_single(lambda session: jobs.find(session, rid))
    if found is None:
        if ended(database, [rid]):
            raise JobNotFound(f"job {rid} has ended; use get_job_ended({str(rid)!r})")
        raise JobNotFound(f"there is no job {rid}; it was never added here, or was deleted from the archive")
    return found


def job_ended(database: Database, rid: UUID) -> JobArchive:
    """The ended job with this rid. Raises `JobNotFound`."""
    found = ended(database, [rid])
    if not found:
        if is_live(database, rid):
            raise JobNotFound(f"job {rid} has not ended; use get_job({str(rid)!r}), or wait_for_job_finished")
        raise JobNotFound(f"there is no job {rid}; it was never added here, or was deleted from the archive")
    return found[0]


def is_live(database: Database, rid: UUID) -> bool:
    """Whether a job has not ended."""
    return database.run_single(lambda session: jobs.find(session, rid)) is not None


def ended(database: Database, rids: Collection[UUID]) -> Sequence[JobArchive]:
    """The ended ones among these jobs."""
    return database.run_single(lambda session: archive.find(session, rids))


def page(database: Database, status: JobStatus | str | None, last_id: int, entries: int) -> Sequence[Job]:
    """Live jobs, newest first. Raises `ValueError` for arguments that make no sense."""
    wanted = _checked(status, last_id, entries, LIVE)
    return database.run_single(lambda session: jobs.page(session, wanted, last_id, entries))


def page_ended(database: Database, status: JobStatus | str | None, last_id: int, entries: int) -> Sequence[JobArchive]:
    """Ended jobs, newest first. Raises `ValueError` for arguments that make no sense."""
    wanted = _checked(status, last_id, entries, ENDED)
    return database.run_single(lambda session: archive.page(session, wanted, last_id, entries))


def read_result(registry: TaskRegistry, job: JobArchive) -> JobArchive:
    """The same job, its result converted as the task's return annotation says, when the task is known here."""
    task = registry.get(job.task_name)
    if task is not None and task.result is not None:
        job.read_result(task.result.read)
    return job


def _checked(
    status: JobStatus | str | None, last_id: int, entries: int, allowed: Sequence[JobStatus]
) -> JobStatus | None:
    if isinstance(last_id, bool) or not isinstance(last_id, int) or not 0 <= last_id < 2**63:
        raise ValueError(f"last_id is {last_id!r}; allowed is the id of a job, or 0 to begin with the newest")
    if isinstance(entries, bool) or not isinstance(entries, int) or not 1 <= entries <= MOST_ENTRIES:
        raise ValueError(f"entries is {entries!r}; allowed are 1 to {MOST_ENTRIES}")
    if status is None:
        return None
    if status not in list(allowed):
        raise ValueError(f"status is {status!r}; allowed are {', '.join(repr(s.value) for s in allowed)}, or None")
    return JobStatus(status)
