"""Schemas and channels: where a session's statements go, and whom they tell."""

from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, bindparam, func, select
from sqlalchemy.orm import Session


def schema_of(session: Session) -> str | None:
    """The schema in the session's `schema_translate_map`; None = the search path decides."""
    options = session.connection().get_execution_options()
    schema: str | None = options.get("schema_translate_map", {}).get(None)
    return schema


def telling(changed: CTE, payload: ColumnElement[str]) -> Select[Any]:
    """Selects the ids of the rows that a data-modifying CTE changed, and tells the bound `channel` if there are any."""
    return select(func.array_agg(changed.c.id), func.pg_notify(bindparam("channel"), payload)).having(func.count() > 0)


def changed_ids(session: Session, statement: Select[Any], channel: str, parameters: dict[str, Any]) -> set[int]:
    """Runs what `telling` made, and returns the ids."""
    row = session.execute(statement, {"channel": channel, **parameters}).one_or_none()
    return set(row[0]) if row else set()
