"""Rows that are not sealed by one key: finding them, locked, and writing them sealed by it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from queuer import events
from queuer.envelope import beginning
from queuer.models import Job, JobArchive
from queuer.repositories.notify import tell

#: A table of jobs.
Table = type[Job] | type[JobArchive]

#: First that from which jobs move to the other.
TABLES: Sequence[Table] = (Job, JobArchive)

# Columns of JSON that are sealed whole, texts that are, and columns of JSON that hold sealed values.
_JSON = ("parameters", "parameters_keyed", "results")
_TEXTS = ("error", "series_error")
_HOLDERS = ("options", "failures")
_NONE = literal_column("'{}'", JSONB)
_WRITTEN = (*_JSON, *_TEXTS, *_HOLDERS, "key_id")


def count(session: Session, table: Table, key_id: str) -> int:
    """How many rows are not wholly sealed by the key."""
    query = select(func.count()).select_from(table).where(_is_otherwise(table, key_id))
    return session.scalar(query) or 0


def lock_batch(
    session: Session, table: Table, key_id: str, *, after: UUID | None, limit: int
) -> Sequence[Mapping[str, Any]]:
    """The next rows that are not wholly sealed by the key, by their rids, locked. What others lock is left out.

    Parameters and results come as texts.
    """
    columns = table.__table__.c
    texts = [_text(_json(columns, name)).label(name) for name in _JSON if name in columns]
    names = ("rid", "series_rid", "key_id", *_HOLDERS, *_TEXTS)
    query = select(*texts, *(columns[name] for name in names if name in columns))
    batch = query.where(_is_otherwise(table, key_id)).order_by(columns.rid).limit(limit)
    if after is not None:
        batch = batch.where(columns.rid > after)
    return [dict(row) for row in session.execute(batch.with_for_update(skip_locked=True)).mappings()]


def write(session: Session, table: Table, changes: Mapping[UUID, Mapping[str, Any]]) -> None:
    """Writes the fields of rows, by their rids. Those that are not given stay."""
    columns = table.__table__.c
    names = [name for name in _WRITTEN if name in columns]
    types: dict[str, Any] = {"rid": Uuid, **dict.fromkeys(names, Text)}
    new = (
        func.unnest(*(bindparam(f"new_{name}", type_=ARRAY(kind)) for name, kind in types.items()))
        .table_valued(*(column(name, kind) for name, kind in types.items()))
        .render_derived(name="new")
    )

    def written(name: str) -> ColumnElement[Any]:
        if name in _JSON:
            return func.to_jsonb(new.c[name])
        return cast(new.c[name], JSONB) if name in _HOLDERS else new.c[name]

    values = {name: func.coalesce(written(name), columns[name]) for name in names}
    fields = {f"new_{name}": [_as_text(change.get(name)) for change in changes.values()] for name in names}
    statement = update(table.__table__).where(columns.rid == new.c.rid).values(values)  # type: ignore[arg-type]
    session.execute(statement, {"new_rid": list(changes), **fields})


def wake(session: Session) -> None:
    """Makes the workers look again: a claim passes over what is locked."""
    tell(session, events.added, "")


def _is_otherwise(table: Table, key_id: str) -> ColumnElement[bool]:
    columns = table.__table__.c
    start = literal(beginning(key_id))
    texts = [_text(_json(columns, name)) for name in _JSON if name in columns]
    texts += [columns[name] for name in _TEXTS if name in columns]
    texts.append(columns.options["metadata"].astext)
    entries = case((func.jsonb_typeof(columns.failures) == "array", columns.failures))
    entry = func.jsonb_array_elements(entries).table_valued(column("value", JSONB)).render_derived(name="entry")
    # Of a failure that is too old to be kept whole there is nothing left to seal.
    is_clear = or_(
        entry.c.value.has_key("message"),
        entry.c.value.has_key("traceback"),
        ~func.starts_with(entry.c.value["sealed"].astext, start),
    )
    clear_entry = select(entry).where(func.jsonb_typeof(entry.c.value) == "object", is_clear).exists()
    return or_(
        columns.key_id.is_distinct_from(key_id), clear_entry, *(~func.starts_with(each, start) for each in texts)
    )


def _json(columns: Any, name: str) -> ColumnElement[Any]:
    """A column. Keyed parameters that there are none of are sealed, too, as in a new job."""
    return func.coalesce(columns[name], _NONE) if name == "parameters_keyed" else columns[name]


def _text(value: ColumnElement[Any]) -> ColumnElement[str]:
    """The text in a JSON string; other JSON as text."""
    return value.op("#>>", return_type=Text())(literal_column("'{}'"))


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
