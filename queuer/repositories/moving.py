"""From `job` to `job_archive`, in one statement: a job is in exactly one of the two, whatever happens."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import CTE, ColumnElement, Delete, func, insert, select

from queuer.models import Job, JobArchive

_COMMON = [column.name for column in Job.__table__.columns if column.name in JobArchive.__table__.columns]


def moved_to_archive(gone: Delete, changes: Mapping[str, ColumnElement[Any]]) -> CTE:
    """Makes of a DELETE of jobs a CTE that moves them, and holds their rids.

    Args:
        changes: What the archive's columns get instead of the job's; at least `status`.
    """
    kept = {name: Job.__table__.c[name] for name in _COMMON}
    values: dict[str, ColumnElement[Any]] = {**kept, "ended_at": func.clock_timestamp(), **changes}
    deleted = gone.returning(*(value.label(name) for name, value in values.items())).cte("deleted")
    entered = insert(JobArchive.__table__).from_select(list(values), select(*deleted.c))  # type: ignore[arg-type]
    return entered.returning(JobArchive.rid).cte("moved")
