"""What workers run, and giving it back."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Integer, Uuid, bindparam, column, exists, func, or_, select, update
from sqlalchemy.orm import Session

from queuer import events
from queuer.models import IS_RUNNING, Job
from queuer.repositories.notify import bound, ids_of, naming, waking
from queuer.states import JobStatus
from queuer.values import ClaimedJob, HeldJob

_IDS = ARRAY(BigInteger)
_HELD = (
    func.unnest(
        bindparam("ids", type_=_IDS), bindparam("rids", type_=ARRAY(Uuid)), bindparam("numbers", type_=ARRAY(Integer))
    )
    .table_valued(column("id", BigInteger), column("rid", Uuid), column("attempt", Integer))
    .render_derived(name="held")
)
# The rid, too: a failover that lost the last jobs gives their ids to others.
_IS_ONE_OF_THEM = exists().where(Job.id == _HELD.c.id, Job.rid == _HELD.c.rid, Job.attempts == _HELD.c.attempt)
_GIVEN = (
    update(Job)
    .where(IS_RUNNING, Job.worker_rid == bindparam("worker"))
    .where(or_(bindparam("ids", type_=_IDS).is_(None), _IS_ONE_OF_THEM))
    .values(status=JobStatus.QUEUED, worker_rid=None, started_at=None)
    .returning(Job.id)
    .cte("given")
)
_GIVE_BACK = select(ids_of(_GIVEN), waking(_GIVEN), naming(_GIVEN, _GIVEN.c.id, "updated"))


def give_back(session: Session, worker_rid: UUID, jobs: Sequence[HeldJob | ClaimedJob] | None = None) -> set[int]:
    """Queues again what the worker runs, tells the others, and returns the ids of those jobs.

    Args:
        jobs: Only these, while the attempts at them are still the worker's; None = all that it runs.
    """
    parameters = {
        "worker": worker_rid,
        "ids": None if jobs is None else [job.id for job in jobs],
        "rids": None if jobs is None else [job.rid for job in jobs],
        "numbers": None if jobs is None else [job.attempt for job in jobs],
        **bound(session, added=events.added, updated=events.updated),
    }
    return set(session.scalar(_GIVE_BACK, parameters) or ())


def held_by(session: Session, worker_rid: UUID) -> list[HeldJob]:
    """What the database says that a worker runs."""
    held = select(Job.id, Job.rid, Job.attempts, Job.cancel_requested_at.is_not(None)).where(
        IS_RUNNING, Job.worker_rid == worker_rid
    )
    return [HeldJob(*row) for row in session.execute(held)]
