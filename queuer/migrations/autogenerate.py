"""What keeps `alembic revision --autogenerate` and `alembic check` in an application away from the queue's tables."""

from collections.abc import Mapping
from typing import Any

from alembic import context
from sqlalchemy import Table, text

from queuer.database.revisions import VERSION_TABLE
from queuer.migrations.settings import schema_of
from queuer.models import IS_OURS, Base

_TABLES = frozenset(Base.metadata.tables) | {VERSION_TABLE}

# In search_path order, which is how PostgreSQL, and SQLAlchemy's reflection, understand a name without a schema.
_FOUND_IN = (
    "SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass(:name)"
)


def include_name(name: str | None, type_: str, parent_names: Mapping[Any, str | None]) -> bool:
    """For `context.configure(include_name=…)`: leaves the queue's tables in the database alone, and its functions.

    In the schema of `context.configure(queuer_schema=…)`; a table of the same name in another one is the application's.
    With a filter of your own, return `yours(…) and migrations.include_name(…)`.
    """
    if type_ == "schema":  # of those in which TimescaleDB keeps the archive's chunks, nothing is the application's
        return not (name or "").startswith("_timescaledb_")
    schema = parent_names.get("schema_name")
    if type_ in {"function", "trigger"}:  # alembic_utils, whose names are "schema.name" and "schema.name()"
        return schema != schema_of(context.get_context()) or not (name or "").startswith(f"{schema}.queuer_")
    return type_ != "table" or not _is_ours(name, schema)


def include_object(object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any) -> bool:  # noqa: A002, FBT001, ARG001 - Alembic's
    """For `context.configure(include_object=…)`: leaves the queue's tables in the application's metadata alone.

    They are there when its `target_metadata` contains `queuer.Job.metadata`, or copies made by `Table.to_metadata`.
    With a filter of your own, return `yours(…) and migrations.include_object(…)`.
    """
    if isinstance(object, Table):
        return IS_OURS not in object.info and not (reflected and _is_ours(name, object.schema))
    return True


def _is_ours(name: str | None, schema: str | None) -> bool:
    if name not in _TABLES:
        return False
    theirs = context.get_context()
    if schema is None and theirs.connection is not None:
        schema = theirs.connection.scalar(text(_FOUND_IN), {"name": name})
    return schema == schema_of(theirs)
