"""What a worker asks of the database between one job and the next."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from queuer.database.database import Database
from queuer.operations.presence import Abilities
from queuer.repositories import claims, held, steering
from queuer.values import NO_MARKS, Claim, HeldJob


def claim(
    database: Database,
    worker_rid: UUID,
    can: Abilities,
    limit: int,
    marks: Mapping[str, int] = NO_MARKS,
    *,
    queued_only: bool = False,
) -> Claim:
    """Takes up to `limit` due jobs, in one round trip. Queued ones of a task only behind its mark.

    Args:
        queued_only: No scheduled ones; then it is not known either when the next of them is due.
    """
    abilities = (can.tasks, limit, can.next_interval_funcs, can.key_ids)
    return database.run_direct(
        lambda direct: claims.take(direct, worker_rid, *abilities, marks, queued_only=queued_only)
    )


def plan_claims(database: Database, worker_rid: UUID) -> None:
    """Lets the server plan the claims that a worker makes while it drains a backlog."""
    database.run_direct(lambda direct: claims.plan(direct, worker_rid))


def claim_named(database: Database, worker_rid: UUID, can: Abilities, rids: Sequence[UUID]) -> Claim:
    """Takes the queued ones among these jobs. Also tells when the first of the scheduled ones among them is due."""
    abilities = (can.tasks, can.next_interval_funcs, can.key_ids)
    return database.run_direct(lambda direct: claims.take_named(direct, worker_rid, rids, *abilities))


def missing_key(database: Database, can: Abilities) -> str | None:
    """The id of the key of a due job that the worker can't take for want of it; None = there is none."""
    return database.run_single(
        lambda session: claims.missing_key(session, can.tasks, can.next_interval_funcs, can.key_ids)
    )


def give_back(database: Database, worker_rid: UUID, jobs: Sequence[HeldJob] | None = None) -> set[UUID]:
    """Queues again what the worker runs, all of it or these. Returns the rids.

    Those that were cancelled end.
    """
    given = database.run_single(lambda session: held.give_back(session, worker_rid, jobs))
    if given:
        database.run_single(lambda session: steering.end_cancelled(session, given))
    return given
