"""The master's office and duties."""

import json
import logging
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from queuer.database.database import Database, Work
from queuer.models import Master
from queuer.occurrences import next_occurrence
from queuer.options import MasterSettings, Options
from queuer.repositories import jobs, leases, steering, upkeep

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

logger = logging.getLogger(__name__)

#: What the steering channel carries when the office has become vacant.
VACANT = leases.VACANT
#: What it carries when other settings are in force.
SETTINGS = leases.SETTINGS


def hold_office(database: Database, worker_rid: UUID, settings: MasterSettings | None) -> tuple[bool, MasterSettings]:
    """Takes the office or keeps it, if that is possible. Tells whether it is held, and which settings are in force."""
    office = database.run(lambda session: leases.hold(session, worker_rid, settings))
    in_force = office or database.run_single(leases.current)
    return office is not None, leases.settings_of(in_force)


def leave_office(database: Database, worker_rid: UUID) -> bool:
    """Leaves the office, if this worker holds it."""
    return database.run(lambda session: leases.release(session, worker_rid))


def office(database: Database) -> Master:
    """Who is the master, and the settings in force."""
    return database.run_single(leases.current)


def rescue(database: Database, stale_after: float) -> None:
    """Calls silent workers dead, and takes their jobs back from them."""
    for rid in database.run_single(lambda session: upkeep.mark_silent(session, stale_after)):
        logger.warning("worker %s has been silent for over %g s; its jobs are taken back", rid, stale_after)
    if taken := _repeat(database, _requeue, upkeep.BATCH):
        logger.warning("%d jobs of dead workers are queued again", taken)
    if failed := _repeat(database, _fail, upkeep.BATCH):
        logger.error("%d jobs failed, because workers died under them again and again", failed)


def _requeue(session: "Session") -> int:
    taken = upkeep.requeue_orphans(session)
    if taken:
        steering.end_cancelled(session, taken)
    return len(taken)


def _fail(session: "Session") -> int:
    failed = upkeep.fail_orphans(session)
    following: dict[UUID, datetime] = {}
    for rid, options, count, planned_at, now in upkeep.series_of(session, failed) if failed else ():
        with suppress(ValueError, TypeError, OverflowError):  # another program's options may make no sense
            schedule = Options.from_json(json.loads(options)).schedule
            if schedule and (next_at := next_occurrence(schedule, planned_at, count, now)):
                following[rid] = next_at
    if following:
        jobs.insert_next_runs(session, following)
    return len(failed)


def prune(database: Database, settings: MasterSettings) -> None:
    """Deletes ended jobs and workers that are older than they are kept."""
    days = settings.retention_archive
    _repeat(database, lambda session: upkeep.delete_archived(session, days), upkeep.ARCHIVE_BATCH)
    database.run_single(lambda session: upkeep.delete_workers(session, settings.worker_delete_after))


def _repeat(database: Database, work: Work[int], batch: int) -> int:
    """Runs `work`, in a transaction each time, until a batch is not full. Returns how many rows it changed in all."""
    total = 0
    while changed := database.run(work):
        total += changed
        if changed < batch:
            break
    return total
