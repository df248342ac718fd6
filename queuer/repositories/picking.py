"""Single jobs for who runs them without a worker: the tests of an application. On any PostgreSQL driver."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from queuer.models import IS_SCHEDULED, Job
from queuer.repositories.claims import taking
from queuer.repositories.direct import rows
from queuer.values import ClaimedJob

_WAITS = "rid = %(rid)s AND status IN ('QUEUED', 'SCHEDULED')"
_TAKE = taking(_WAITS)
_TAKE_DUE = taking(f"{_WAITS} AND (scheduled_at IS NULL OR scheduled_at <= clock_timestamp())")


def take(session: Session, worker_rid: UUID, rid: UUID, *, before_due: bool = False) -> ClaimedJob | None:
    """Marks a job that waits as running, by a worker that need not be known. None = it does not wait, or is not due.

    Args:
        before_due: Also when it is scheduled for later.
    """
    taken = rows(session, _TAKE if before_due else _TAKE_DUE, {"worker": worker_rid, "rid": rid})
    return ClaimedJob(*taken[0][1:]) if taken else None


def scheduled(session: Session, rids: Collection[UUID], until: datetime | None = None) -> list[tuple[UUID, str]]:
    """The scheduled ones among these jobs, and among the later runs of those that recur, with the names of their
    tasks; the next to run first.

    Args:
        until: Only those that are due by then.
    """
    query = select(Job.rid, Job.task_name).where(IS_SCHEDULED, or_(Job.rid.in_(rids), Job.series_rid.in_(rids)))
    if until is not None:
        query = query.where(Job.scheduled_at <= until)
    return [(rid, task_name) for rid, task_name in session.execute(query.order_by(Job.scheduled_at, Job.id))]
