"""Being known as a worker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from queuer.database.database import Database
from queuer.errors import WorkerNotFound
from queuer.options import OnError
from queuer.repositories import workers
from queuer.states import WorkerStatus

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Identity:
    """What a worker is known by, for as long as its process lives."""

    rid: UUID
    name: str
    max_concurrency: int
    on_error: OnError | None


def beat(database: Database, worker: Identity, status: WorkerStatus, tasks: Sequence[str]) -> float:
    """Says that the worker is alive, and registers it first if nobody knows it (any more).

    Returns the seconds of silence after which it would count as dead.
    """
    stale_after = database.run_single(lambda session: workers.beat(session, worker.rid, status, tasks))
    if stale_after is not None:
        return stale_after

    def work(session: "Session") -> float | None:
        workers.register(session, worker.rid, worker.name, worker.max_concurrency, worker.on_error)
        return workers.beat(session, worker.rid, status, tasks)

    stale_after = database.run(work)
    if stale_after is None:
        raise WorkerNotFound(f"the row of worker {worker.rid} vanished while it was written")
    return stale_after
