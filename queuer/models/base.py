"""The declarative base, and what all tables share.

The tables carry no schema of their own: sessions bring it as `schema_translate_map={None: schema}`, and where there is
none the search path decides.
"""

from datetime import datetime
from enum import Enum as PyEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import DateTime, Enum, MetaData, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase


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
    type_annotation_map: ClassVar = {datetime: DateTime(timezone=True), UUID: Uuid(), Any: JSONB(none_as_null=True)}


def status_type(kind: type[PyEnum]) -> Enum:
    """Text in the database: a native enum could not be changed inside a transaction on every supported server."""
    return Enum(
        kind, native_enum=False, length=16, create_constraint=False, values_callable=lambda k: [s.value for s in k]
    )
