"""Interfering with jobs and workers from outside: cancelling, adding again, deleting, asking a worker to stop."""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import ARRAY, Uuid, any_, bindparam, delete, func, literal, or_, select, update
from sqlalchemy.orm import Session

from queuer import events
from queuer.models import IS_QUEUED, IS_RUNNING, IS_SCHEDULED, Job, JobArchive, Worker
from queuer.repositories.moving import moved_to_archive
from queuer.repositories.notify import bound, naming, rids_of, tell
from queuer.states import JobStatus, WorkerRequest
from queuer.values import Page

_MOVED = moved_to_archive(
    delete(Job).where(Job.rid == bindparam("rid"), or_(IS_QUEUED, IS_SCHEDULED)),
    {
        "status": literal(JobStatus.CANCELLED.value),
        "error": literal("JobCancelled: the job was cancelled while it waited"),
    },
)
_CANCEL_WAITING = select(rids_of(_MOVED), naming(_MOVED, "ended"))

_ENDED = moved_to_archive(
    delete(Job)
    .where(Job.rid == any_(bindparam("rids", type_=ARRAY(Uuid))), or_(IS_QUEUED, IS_SCHEDULED))
    .where(Job.cancel_requested_at.is_not(None)),
    {
        "status": literal(JobStatus.CANCELLED.value),
        "error": literal("JobCancelled: the job was cancelled while it ran, and its worker was lost or stopped"),
    },
)
_END_CANCELLED = select(rids_of(_ENDED), naming(_ENDED, "ended"))


def cancel_waiting(session: Session, rid: UUID) -> bool:
    """Moves a job that does not run into the archive, CANCELLED. Tells whether there was one."""
    return bool(session.scalar(_CANCEL_WAITING, {"rid": rid, **bound(session, ended=events.ended)}))


def end_cancelled(session: Session, rids: Collection[UUID]) -> set[UUID]:
    """Moves those of the jobs into the archive that were cancelled while they ran and wait again since.

    Who would have to claim them to see to it may never come. Returns their rids.
    """
    return set(session.scalar(_END_CANCELLED, {"rids": list(rids), **bound(session, ended=events.ended)}) or ())


def ask_to_cancel(session: Session, rid: UUID) -> UUID | None:
    """Notes that a running job shall be cancelled, and tells its worker, whose rid it returns."""
    asked = (
        update(Job)
        .where(IS_RUNNING, Job.rid == rid)
        .values(cancel_requested_at=func.clock_timestamp())
        .returning(Job.worker_rid)
    )
    worker_rid = session.scalar(asked)
    if worker_rid is not None:
        tell(session, events.steering, str(worker_rid))
    return worker_rid


def running_on(session: Session, wanted: Page) -> list[UUID]:
    """The rids of the oldest jobs that the page's worker runs."""
    mine = select(Job.rid).where(IS_RUNNING, Job.worker_rid == wanted.worker_rid)
    query = mine.order_by(Job.id).limit(wanted.entries)
    return list(session.scalars(query))


def delete_ended(session: Session, rid: UUID) -> bool:
    """Deletes a job from the archive. Tells whether it was there."""
    return bool(session.scalars(delete(JobArchive).where(JobArchive.rid == rid).returning(JobArchive.id)).all())


def ask_worker(session: Session, rid: UUID, request: WorkerRequest) -> bool:
    """Notes what a worker that runs shall do, and tells it. Tells whether there is such a worker."""
    found = session.scalar(update(Worker).where(Worker.rid == rid).values(asked_to=request).returning(Worker.id))
    if found is not None:
        tell(session, events.steering, str(rid))
    return found is not None
