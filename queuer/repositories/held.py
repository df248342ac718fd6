"""What workers run, and giving it back."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Uuid, bindparam, column, exists, func, or_, select, update
from sqlalchemy.orm import Session

from queuer import events
from queuer.models import IS_RUNNING, Job
from queuer.repositories.notify import bound, naming, rids_of, waking
from queuer.states import JobStatus
from queuer.values import ClaimedJob, HeldJob

_RIDS = ARRAY(Uuid)
_HELD = (
    func.unnest(bindparam("rids", type_=_RIDS), bindparam("numbers", type_=ARRAY(Integer)))
    .table_valued(column("rid", Uuid), column("attempt", Integer))
    .render_derived(name="held")
)
_IS_ONE_OF_THEM = exists().where(Job.rid == _HELD.c.rid, Job.attempts == _HELD.c.attempt)
_GIVEN = (
    update(Job)
    .where(IS_RUNNING, Job.worker_rid == bindparam("worker"))
    .where(or_(bindparam("rids", type_=_RIDS).is_(None), _IS_ONE_OF_THEM))
    .values(status=JobStatus.QUEUED, worker_rid=None, started_at=None)
    .returning(Job.rid)
    .cte("given")
)
_GIVE_BACK = select(rids_of(_GIVEN), waking(_GIVEN), naming(_GIVEN, "updated"))


def give_back(session: Session, worker_rid: UUID, jobs: Sequence[HeldJob | ClaimedJob] | None = None) -> set[UUID]:
    """Queues again what the worker runs, tells the others, and returns the rids of those jobs.

    Args:
        jobs: Only these, while the attempts at them are still the worker's; None = all that it runs.
    """
    parameters = {
        "worker": worker_rid,
        "rids": None if jobs is None else [job.rid for job in jobs],
        "numbers": None if jobs is None else [job.attempt for job in jobs],
        **bound(session, added=events.added, updated=events.updated),
    }
    return set(session.scalar(_GIVE_BACK, parameters) or ())


def held_by(session: Session, worker_rid: UUID) -> list[HeldJob]:
    """What the database says that a worker runs."""
    held = select(Job.rid, Job.attempts, Job.cancel_requested_at.is_not(None)).where(
        IS_RUNNING, Job.worker_rid == worker_rid
    )
    return [HeldJob(*row) for row in session.execute(held)]
