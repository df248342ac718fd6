"""What happens to jobs, for those who can't hear of it and look again and again: each statement is cheap."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, func, or_, select
from sqlalchemy.orm import Session

from queuer.models import Job, JobArchive
from queuer.models.job import IS_RUNNING, IS_SCHEDULED
from queuer.repositories import in_order
from queuer.states import JobStatus

#: Retries that are due later are not looked at: there may be any number of scheduled jobs.
SOON = timedelta(hours=1)

#: An attempt, and what the job is doing.
State = tuple[int, JobStatus]


def newest_id(session: Session) -> int:
    """The greatest id among live and ended jobs; 0 = there are none."""
    return max(in_order.newest_id(session), session.scalar(select(func.max(JobArchive.id))) or 0)


def ids_after(session: Session, newest: int, others: Collection[int], limit: int) -> set[int]:
    """The first `limit` ids of jobs that are greater than `newest`, and those among `others`, live or ended."""
    # In this order: a job that ends meanwhile is in the second.
    newer = {
        *session.scalars(select(Job.id).where(in_order.is_among(Job.id > newest, newest_first=False, limit=limit)))
    }
    is_newer = select(JobArchive.id).where(JobArchive.id > newest).order_by(JobArchive.id).limit(limit)
    newer.update(session.scalars(is_newer))
    found: set[int] = set()
    if others:
        found.update(session.scalars(select(Job.id).where(in_order.is_among(Job.id.in_(others)))))
        found.update(session.scalars(select(JobArchive.id).where(JobArchive.id.in_(others))))
    return found | set(sorted(newer)[:limit])


def under_way(session: Session, others: Collection[UUID]) -> Mapping[UUID, State]:
    """Live jobs that run or wait for a retry, and those among `others`."""
    chosen = [IS_RUNNING, IS_SCHEDULED & (Job.attempts > 0) & (Job.scheduled_at < func.now() + SOON)]
    if others:
        chosen.append(Job.rid.in_(others))
    found: dict[UUID, State] = {}
    for condition in chosen:  # one by one: each has an index of its own
        rows = session.execute(select(Job.rid, Job.attempts, Job.status).where(condition))
        found |= {rid: (attempts, status) for rid, attempts, status in rows}
    return found


def running(session: Session) -> set[UUID]:
    """Jobs that run."""
    return set(session.scalars(select(Job.rid).where(IS_RUNNING)))


def ended_after(session: Session, instant: datetime, others: Collection[UUID]) -> Mapping[UUID, int]:
    """Jobs that ended after an instant, and the ended ones among `others`, with their attempts."""
    is_new = JobArchive.ended_at > instant
    chosen = or_(is_new, JobArchive.rid.in_(others)) if others else is_new
    return {row.rid: row.attempts for row in session.execute(select(JobArchive.rid, JobArchive.attempts).where(chosen))}


def clock(session: Session) -> datetime:
    """The database's clock."""
    return session.execute(select(func.clock_timestamp(type_=DateTime(timezone=True)))).scalar_one()
