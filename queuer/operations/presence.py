"""Being known as a worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from queuer.database.database import Database
from queuer.errors import WorkerNotFound
from queuer.options import OnError
from queuer.repositories import held, workers
from queuer.states import WorkerStatus
from queuer.values import Beat, HeldJob

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Identity:
    """What a worker is known by, for as long as its process lives."""

    rid: UUID
    name: str
    max_concurrency: int
    on_error: OnError | None


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a worker can run."""

    tasks: Sequence[str]
    next_interval_funcs: Sequence[str]
    #: Of the keys that it can decrypt with.
    key_ids: Sequence[str] = ()


def beat(database: Database, worker: Identity, status: WorkerStatus, can: Abilities) -> Beat:
    """Says that the worker is alive, and registers it first if nobody knows it (any more)."""

    def again(session: "Session") -> Beat | None:
        return workers.beat(session, worker.rid, status, can.tasks, can.next_interval_funcs)

    def register(session: "Session") -> Beat | None:
        workers.register(session, worker.rid, worker.name, worker.max_concurrency, worker.on_error)
        return again(session)

    learned = database.run_single(again) or database.run(register)
    if learned is None:
        raise WorkerNotFound(f"the row of worker {worker.rid} vanished while it was written")
    return learned


def held_jobs(database: Database, worker_rid: UUID) -> list[HeldJob]:
    """What the database says that the worker runs."""
    return database.run_single(lambda session: held.held_by(session, worker_rid))
