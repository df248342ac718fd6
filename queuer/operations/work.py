"""What a worker asks of the database between one job and the next."""

from collections.abc import Sequence
from uuid import UUID

from queuer.database.database import Database
from queuer.repositories import claims
from queuer.values import ClaimedJob


def claim(database: Database, worker_rid: UUID, tasks: Sequence[str], limit: int) -> list[ClaimedJob]:
    """Takes up to `limit` due jobs, in one round trip."""
    return database.run_single(lambda session: claims.claim(session, worker_rid, tasks, limit))


def seconds_until_due(database: Database, tasks: Sequence[str]) -> float | None:
    """When the next scheduled job will be due; None = there is none."""
    return database.run_single(lambda session: claims.seconds_until_due(session, tasks))


def give_back(database: Database, worker_rid: UUID) -> set[int]:
    """Queues again whatever the worker still runs, and returns the ids."""
    return database.run_single(lambda session: claims.give_back(session, worker_rid))
