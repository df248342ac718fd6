"""The declarative base, and what all tables share.

The tables carry no schema of their own: sessions bring it as `schema_translate_map={None: schema}`, and where there is
none the search path decides.
"""

import json
from collections.abc import Callable
from datetime import datetime
from enum import Enum as PyEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Dialect,
    Enum,
    MetaData,
    Text,
    TypeDecorator,
    Uuid,
    case,
    cast,
    literal_column,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeEngine

from queuer.payload import decode


class Json(TypeDecorator[Any]):
    """jsonb, written and read by us whatever JSON functions the engine was made with: it may be an application's.

    Args:
        empty: Makes what NULL reads as; None = None.
    """

    impl = JSONB(none_as_null=True)
    cache_ok = True

    def __init__(self, empty: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self.empty = empty

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return type_coerce(cast(column, Text), self)  # as jsonb the driver would have read it already

    def bind_processor(self, _dialect: Dialect) -> Callable[[Any], str | None]:
        return lambda value: None if value is None else json.dumps(value, separators=(",", ":"))

    def result_processor(self, _dialect: Dialect, _coltype: object) -> Callable[[Any], Any]:
        empty = self.empty or _none
        return lambda text: empty() if text is None else decode(text)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        return self.impl_instance.coerce_compared_value(op, value)


def _none() -> None:
    return None


#: In `Table.info`, which also goes into copies made by `Table.to_metadata`: a table of the queue's.
IS_OURS = "queuer"


class Instant(TypeDecorator[datetime]):
    """timestamptz, which PostgreSQL takes from 4713 BC to 294276, and which reads as the nearest that Python knows."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return type_coerce(within_calendar(column), self)


# Days before the ends of Python's calendar, since it is read in the server's time zone.
_EARLIEST = literal_column("timestamptz '0001-01-03 00:00:00+00'", DateTime(timezone=True))
_LATEST = literal_column("timestamptz '9999-12-30 00:00:00+00'", DateTime(timezone=True))


def within_calendar(instant: ColumnElement[Any]) -> ColumnElement[Any]:
    """The nearest instant that Python can hold: one that it can't would lose the whole answer."""
    return case((instant < _EARLIEST, _EARLIEST), (instant > _LATEST, _LATEST), else_=instant)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # Any: JSON that other programs wrote may have any shape.
    type_annotation_map: ClassVar = {datetime: Instant(), UUID: Uuid(), Any: Json()}


def status_type(kind: type[PyEnum]) -> Enum:
    """Text in the database: a native enum could not be changed inside a transaction on every supported server."""
    return Enum(
        kind, native_enum=False, length=16, create_constraint=False, values_callable=lambda k: [s.value for s in k]
    )


def told(row: Base, *names: str) -> str:
    """For `repr`: what of these attributes is loaded. To ask for the rest could query, or fail in a closed session."""
    loaded = {name: vars(row)[name] for name in names if name in vars(row)}
    shown = (f"{name}={value.value if isinstance(value, PyEnum) else value}" for name, value in loaded.items())
    return f"<{' '.join((type(row).__name__, *shown))}>"
