"""Which server and database a session is on, and whether it may write there."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal, select, text
from sqlalchemy.orm import Session

from queuer.models import Job
from queuer.repositories.direct import schema_of


@dataclass(frozen=True, slots=True)
class Place:
    """Tells one queue's tables from all others, on this and on other servers, and after a dump was restored.

    Args:
        started_at: The server's start, to the microsecond.
        table: The object id of `job` there; None = there is none.
    """

    started_at: datetime
    database: int
    table: int | None


def whereabouts(session: Session) -> tuple[Place, bool]:
    """Where the session is, and whether its transaction is read-only. Whoever may connect may ask."""
    table = ".".join(
        f'"{name.replace(chr(34), chr(34) * 2)}"' for name in (schema_of(session), Job.__tablename__) if name
    )
    statement = select(
        func.pg_postmaster_start_time(),
        text("(SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = current_database())"),
        text("to_regclass(:job)::oid::bigint").bindparams(job=table),
        func.current_setting(literal("transaction_read_only")) == "on",
    )
    started_at, database, found, is_read_only = session.execute(statement).one()
    return Place(started_at, database, found), is_read_only
