"""Interfering with jobs and workers, from anywhere."""

from typing import TYPE_CHECKING
from uuid import UUID

from queuer import additions
from queuer.context import current_rid
from queuer.database.database import Database
from queuer.errors import DecryptionError, JobNotFound, WorkerNotFound
from queuer.models import Job, JobArchive
from queuer.repositories import archive, jobs, steering
from queuer.rids import new_rid
from queuer.sealing import sealed_new
from queuer.states import WorkerRequest
from queuer.values import NewJob, Page

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


def cancel(session: "Session", rid: UUID) -> Job | JobArchive:
    """Cancels a job: at once if it waits; if it runs, its worker interrupts it. Raises `JobNotFound`."""
    while True:
        waited = steering.cancel_waiting(session, rid)
        if not waited and steering.ask_to_cancel(session, rid) is not None:
            return jobs.get(session, rid)
        ended = archive.find(session, [rid])
        if waited:
            return ended[0]
        if ended:
            raise JobNotFound(f"job {rid} has ended, {ended[0].status.value}; it can't be cancelled any more")
        if jobs.find(session, rid) is None and not archive.find(session, [rid]):
            raise JobNotFound(f"there is no job {rid} that could be cancelled")
        # It has begun to run, or to wait, between the looks: again.


def cancel_all_of(database: Database, wanted: Page) -> list[Job | JobArchive]:
    """Cancels the oldest jobs that a worker runs."""
    rids = database.run_single(lambda session: steering.running_on(session, wanted))
    found = [_cancel_if_there(database, rid) for rid in rids]
    return [job for job in found if job is not None]


def _cancel_if_there(database: Database, rid: UUID) -> Job | JobArchive | None:
    try:
        return database.run(lambda session: cancel(session, rid))
    except JobNotFound:  # it has ended meanwhile
        return None


def readd(database: Database, rid: UUID) -> Job:
    """Adds a job like one that has ended: same task, parameters and options.

    Raises:
        JobNotFound: It is not in the archive.
        DecryptionError: It is encrypted, and can't be read here.
    """

    def work(session: "Session") -> Job:
        found = archive.find(session, [rid])
        if not found:
            raise JobNotFound(f"there is no ended job {rid}; only what is in the archive can be added again")
        ended = found[0]
        if ended.sealed:
            raise DecryptionError(
                f"job {rid} can't be added again: it is encrypted with a key that is missing, or damaged"
            )
        call = (ended.task_name, ended.parameters, ended.parameters_keyed)
        again = sealed_new(database.cipher, NewJob(new_rid(), *call, ended.options, current_rid()))
        inserted = jobs.insert_one(session, again)
        additions.tell_inserted(session, [again])
        return inserted

    added = database.run(work)
    additions.tell_settled([added.rid])
    return added


def delete(database: Database, rid: UUID) -> None:
    """Deletes a job from the archive. Raises `JobNotFound`."""
    if not database.run_single(lambda session: steering.delete_ended(session, rid)):
        raise JobNotFound(f"there is no ended job {rid}; only what is in the archive can be deleted")


def ask_worker(database: Database, rid: UUID, request: WorkerRequest) -> None:
    """Asks a worker to stop. Raises `WorkerNotFound`."""
    if not database.run(lambda session: steering.ask_worker(session, rid, request)):
        raise WorkerNotFound(f"there is no worker {rid}")
