"""Workers: being known, and being alive."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, insert, select, text, update
from sqlalchemy.orm import Session

from queuer.models import Master, Worker
from queuer.options import OnError
from queuer.repositories.search import paged
from queuer.states import WorkerStatus
from queuer.values import Beat, Connection, Page


def register(session: Session, rid: UUID, name: str, max_concurrency: int, on_error: OnError | None) -> None:
    """Makes a worker known, as READY."""
    written = on_error and on_error.to_json()
    session.execute(insert(Worker).values(rid=rid, name=name, max_concurrency=max_concurrency, on_error=written))


def beat(
    session: Session, rid: UUID, status: WorkerStatus, tasks: Sequence[str], functions: Sequence[str] = ()
) -> Beat | None:
    """Says that the worker is alive, in which state, and what it has. Returns what it learns; None = its row is gone.

    What it was asked for is taken back: it knows now.
    """
    stale_after = func.coalesce(select(Master.worker_stale_after).scalar_subquery(), 120.0)  # should the row be missing
    before = select(Worker.rid, Worker.asked_to).where(Worker.rid == rid).with_for_update().cte("before")
    beaten = (
        update(Worker)
        .where(Worker.rid == before.c.rid)
        .values(
            status=status,
            tasks=list(tasks),
            next_interval_funcs=list(functions),
            heartbeat_at=func.clock_timestamp(),
            asked_to=None,
        )
        .returning(before.c.asked_to, stale_after)
    )
    row = session.execute(beaten).one_or_none()
    return Beat(*row) if row else None


def find(session: Session, rid: UUID) -> Worker | None:
    """The worker with this rid."""
    return session.scalars(select(Worker).where(Worker.rid == rid)).one_or_none()


def page(session: Session, wanted: Page) -> Sequence[Worker]:
    """Workers, newest first."""
    return session.scalars(paged(Worker, wanted, Worker.name, Worker.rid, Worker.status)).all()


def connections(session: Session) -> list[Connection]:
    """The connections that queuers have to the database of the session."""
    query = text("""
        SELECT pid, datname, usename, application_name, coalesce(state, ''), backend_start FROM pg_stat_activity
        WHERE datname = current_database() AND application_name LIKE 'queuer%' ORDER BY backend_start""")
    return [Connection(*row) for row in session.execute(query)]
