"""Jobs that have ended."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from queuer.models import JobArchive
from queuer.states import JobStatus


def find(session: Session, rids: Collection[UUID]) -> Sequence[JobArchive]:
    """The ended ones among these jobs."""
    return session.scalars(select(JobArchive).where(JobArchive.rid.in_(rids))).all()


def page(session: Session, status: JobStatus | None, last_id: int, entries: int) -> Sequence[JobArchive]:
    """Ended jobs, newest first: those with an id below `last_id`, or the newest of all when it is 0."""
    query = select(JobArchive).order_by(JobArchive.id.desc()).limit(entries)
    if status is not None:
        query = query.where(JobArchive.status == status)
    if last_id:
        query = query.where(JobArchive.id < last_id)
    return session.scalars(query).all()


def with_clock(session: Session, ids: Collection[int]) -> Sequence[tuple[JobArchive, datetime]]:
    """These ended jobs, each with the database's present instant."""
    query = select(JobArchive, func.clock_timestamp()).where(JobArchive.id.in_(ids))
    return [(job, now) for job, now in session.execute(query)]
