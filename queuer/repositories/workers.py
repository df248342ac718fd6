"""Workers: being known, and being alive."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from queuer.models import Master, Worker
from queuer.options import OnError
from queuer.states import WorkerStatus


def register(session: Session, rid: UUID, name: str, max_concurrency: int, on_error: OnError | None) -> None:
    """Makes a worker known, as READY."""
    written = on_error and on_error.to_json()
    session.execute(insert(Worker).values(rid=rid, name=name, max_concurrency=max_concurrency, on_error=written))


def beat(session: Session, rid: UUID, status: WorkerStatus, tasks: Sequence[str]) -> float | None:
    """Says that the worker is alive, in which state, and which tasks it has.

    Returns the seconds of silence after which it would count as dead; None = its row is gone.
    """
    stale_after = select(Master.worker_stale_after).scalar_subquery()
    values: dict[str, Any] = {"status": status, "tasks": list(tasks), "heartbeat_at": func.clock_timestamp()}
    beaten = update(Worker).where(Worker.rid == rid).values(values).returning(stale_after)
    silence: float | None = session.scalar(beaten)
    return silence


def find(session: Session, rid: UUID) -> Worker | None:
    """The worker with this rid."""
    return session.scalars(select(Worker).where(Worker.rid == rid)).one_or_none()
