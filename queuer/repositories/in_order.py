"""Live jobs by their ids, which say which is older.

No index has all ids: each index costs a fifth of a bulk add, and workers need none of that kind. They stand in two:
task by task in that of the jobs that are due at once, whose tasks are found by a loose index scan
(https://wiki.postgresql.org/wiki/Loose_indexscan), and in that of the scheduled ones.
"""

from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, any_, func, lateral, select, true, union_all
from sqlalchemy.orm import Session

from queuer.models import Job
from queuer.models.job import HAS_INSTANT

_HASH = func.hashtext(Job.task_name)
_IS_QUEUED = Job.scheduled_at.is_(None)


def jobs(*conditions: ColumnElement[bool], newest_first: bool = True, limit: int | None = None) -> Select[Any]:
    """The first of those jobs for which the conditions hold, in the order of their ids."""
    return (
        select(Job)
        .where(is_among(*conditions, newest_first=newest_first, limit=limit))
        .order_by(_by_id(newest_first=newest_first))
    )


def is_among(
    *conditions: ColumnElement[bool], newest_first: bool = True, limit: int | None = None
) -> ColumnElement[bool]:
    """Whether a job is among the first for which the conditions hold."""
    found = select(Job.rid, Job.id).where(*conditions)
    if limit is not None:
        found = found.order_by(_by_id(newest_first=newest_first)).limit(limit)
    tasks = _tasks()
    queued = lateral(found.where(_IS_QUEUED, tasks.c.hash == _HASH))
    scheduled = found.where(HAS_INSTANT).subquery()
    heads = union_all(
        select(queued.c.rid, queued.c.id).select_from(tasks).join(queued, true()),
        select(scheduled.c.rid, scheduled.c.id),
    ).subquery()
    id = heads.c.id.desc() if newest_first else heads.c.id
    first = select(heads.c.rid).order_by(id).limit(limit)
    return Job.rid == any_(func.array(first.scalar_subquery()))


def newest_id(session: Session) -> int:
    """The greatest id of a live job; 0 = there are none."""
    return session.scalar(select(Job.id).where(is_among(limit=1))) or 0


def _by_id(*, newest_first: bool) -> Any:
    return Job.id.desc() if newest_first else Job.id.asc()


def _tasks() -> CTE:
    """The hashes of the tasks that have jobs which are due at once.

    From the highest to the lowest: so the first entry of each is its newest job. The oldest lie behind those of jobs
    that have ended, which PostgreSQL can't remove as long as anybody holds an old snapshot.
    """
    hashes = select(_HASH.label("hash")).where(_IS_QUEUED).order_by(_HASH.desc()).limit(1)
    tasks = hashes.cte("tasks", recursive=True)
    following = select(_HASH).where(_IS_QUEUED, tasks.c.hash > _HASH).order_by(_HASH.desc()).limit(1)
    return tasks.union_all(select(following.scalar_subquery()).where(tasks.c.hash.is_not(None)))
