"""Jobs that have ended."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from queuer.models import JobArchive
from queuer.repositories import search
from queuer.values import Page


def find(session: Session, rids: Collection[UUID]) -> Sequence[JobArchive]:
    """The ended ones among these jobs."""
    return session.scalars(select(JobArchive).where(JobArchive.rid.in_(rids))).all()


def find_by_ids(session: Session, ids: Collection[int]) -> Sequence[JobArchive]:
    """The ended ones among these jobs."""
    return session.scalars(select(JobArchive).where(JobArchive.id.in_(ids))).all()


def page(session: Session, wanted: Page) -> Sequence[JobArchive]:
    """Ended jobs, newest first."""
    return search.ended(session, wanted)
