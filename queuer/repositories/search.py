"""Pages of jobs and workers, and what is searched for."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, or_, select

from queuer.values import Page


def paged(model: Any, wanted: Page, *searched: Any) -> Select[Any]:
    """The page of rows that is wanted, newest first.

    Args:
        searched: The columns in which the page's text is looked for.
    """
    query = select(model).order_by(model.id.desc()).limit(wanted.entries)
    if wanted.last_id:
        query = query.where(model.id < wanted.last_id)
    if wanted.status is not None:
        query = query.where(model.status == wanted.status)
    if wanted.worker_rid is not None:
        query = query.where(model.worker_rid == wanted.worker_rid)
    if wanted.text is not None:
        query = query.where(_containing(wanted.text, searched))
    return query


def paged_jobs(model: Any, wanted: Page) -> Select[Any]:
    """The page of jobs that is wanted. Task name, rid and status are searched."""
    return paged(model, wanted, model.task_name, model.rid, model.status)


def _containing(text: str, columns: Iterable[Any]) -> ColumnElement[bool]:
    """Whether any of the columns contains `text`, in either case; `%` and `_` stand for themselves."""
    return or_(*(cast(column, Text).icontains(text, autoescape=True) for column in columns))
