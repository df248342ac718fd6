"""Pages of jobs and workers, and what is searched for."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice, repeat
from operator import mul
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, or_, select
from sqlalchemy.orm import Session

from queuer.models import Job, JobArchive
from queuer.models.job import JobRecord
from queuer.repositories import in_order
from queuer.values import Page

#: Ids among which a page of jobs is looked for at first.
FIRST_LOOK = 10_000


def paged(model: Any, wanted: Page, *searched: Any) -> Select[Any]:
    """The page of rows that is wanted, newest first.

    Args:
        searched: The columns in which the page's text is looked for.
    """
    query = select(model).where(*_wanted(model, wanted, searched)).order_by(model.id.desc()).limit(wanted.entries)
    return query.where(model.id < wanted.last_id) if wanted.last_id else query


def ended(session: Session, wanted: Page) -> Sequence[JobArchive]:
    """The page of ended jobs that is wanted. Task name, rid and status are searched."""
    return session.scalars(paged(JobArchive, wanted, *_searched(JobArchive))).all()


def live(session: Session, wanted: Page) -> Sequence[Job]:
    """The page of live jobs that is wanted. Task name, rid and status are searched."""
    conditions = list(_wanted(Job, wanted, _searched(Job)))
    if not conditions:
        below = [Job.id < wanted.last_id] if wanted.last_id else []
        return session.scalars(in_order.jobs(*below, limit=wanted.entries)).all()
    return list(islice(_among_newest(session, wanted, conditions), wanted.entries))


def _among_newest(session: Session, wanted: Page, conditions: Sequence[ColumnElement[bool]]) -> Iterator[Job]:
    """Looks through the newest jobs first, and through more at a time the longer it takes: for all at once, as many
    would be looked for of each task, and where one has few all of its jobs would be read."""
    highest = wanted.last_id - 1 if wanted.last_id else in_order.newest_id(session)
    for size in accumulate(repeat(4), mul, initial=FIRST_LOOK):
        lowest = highest - size
        bounds = [Job.id <= highest, *([Job.id > lowest] if lowest > 0 else [])]
        yield from session.scalars(in_order.jobs(*bounds, *conditions, limit=wanted.entries))
        if lowest <= 0:
            return
        highest = lowest


def _searched(model: type[JobRecord]) -> Iterable[Any]:
    return model.task_name, model.rid, model.status


def _wanted(model: Any, wanted: Page, searched: Iterable[Any]) -> Iterator[ColumnElement[bool]]:
    if wanted.status is not None:
        yield model.status == wanted.status
    if wanted.worker_rid is not None:
        yield model.worker_rid == wanted.worker_rid
    if wanted.text is not None:
        yield _containing(wanted.text, searched)


def _containing(text: str, columns: Iterable[Any]) -> ColumnElement[bool]:
    """Whether any of the columns contains `text`, in either case; `%` and `_` stand for themselves."""
    return or_(*(cast(column, Text).icontains(text, autoescape=True) for column in columns))
