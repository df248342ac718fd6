"""Channels: whom a statement tells."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import CTE, ColumnElement, Text, bindparam, cast, func, not_, select
from sqlalchemy.orm import Session

from queuer.events import NAMED_AT_MOST, Channel
from queuer.repositories.direct import Direct, schema_of


def waking(changed: CTE) -> ColumnElement[Any]:
    """Tells the bound channel `added`, once, if the CTE changed any row. To be selected."""
    return select(func.pg_catalog.pg_notify(bindparam("added"), "")).select_from(changed).limit(1).scalar_subquery()


def naming(changed: CTE, channel: str) -> ColumnElement[Any]:
    """Tells a bound channel the rids of the rows that the CTE changed, in notifications of a bounded size, if anybody
    listens.

    NOTIFY takes a lock on all of PostgreSQL at commit. Who listens holds an advisory lock, so trying that one first is
    cheap, and costs a needless notification at worst, when two try at once. To be selected.
    """
    number = (func.row_number().over() - 1) // NAMED_AT_MOST
    numbered = select(cast(changed.c.rid, Text).label("name"), number.label("chunk")).select_from(changed).subquery()
    chunks = select(func.string_agg(numbered.c.name, ",").label("names")).group_by(numbered.c.chunk).subquery()
    # In a subquery of its own it is asked first, and once: when nobody listens, nothing is named.
    unheard = select(func.pg_try_advisory_xact_lock(bindparam(f"{channel}_key"))).scalar_subquery()
    told = select(func.count(func.pg_catalog.pg_notify(bindparam(channel), chunks.c.names))).where(not_(unheard))
    return told.scalar_subquery()


def rids_of(changed: CTE) -> ColumnElement[Any]:
    """The rids of the rows that the CTE changed, as an array. To be selected."""
    return select(func.array_agg(changed.c.rid)).scalar_subquery()


def bound(session: Session | Direct, **of: Callable[[str], Channel]) -> dict[str, Any]:
    """The parameters of `waking` and `naming`: `bound(session, ended=events.ended)`."""
    schema = schema_of(session) or "public"
    parameters: dict[str, Any] = {}
    for name, channel_of in of.items():
        channel = channel_of(schema)
        parameters |= {name: channel.name, f"{name}_key": channel.key}
    return parameters


def tell(session: Session, of: Callable[[str], Channel], payload: str) -> None:
    """Notifies a channel when the transaction commits."""
    session.execute(select(func.pg_catalog.pg_notify(of(schema_of(session) or "public").name, payload)))
