"""Writing down how attempts ended, and planning the next run of what recurs."""

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from queuer.database.database import Database
from queuer.models import JobArchive
from queuer.occurrences import next_occurrence
from queuer.repositories import archive, jobs, results
from queuer.states import JobStatus
from queuer.values import NewJob, Outcome, Verdict

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

logger = logging.getLogger(__name__)


def finish(database: Database, worker_rid: UUID, outcomes: Sequence[Outcome]) -> None:
    """Writes outcomes: all of them, or none when it raises. Safe to repeat when nobody knows whether it was done.

    An outcome of a job that is no longer this worker's is dropped and logged.
    """
    ended = [outcome for outcome in outcomes if outcome.verdict is not Verdict.RETRY]
    retried = [outcome for outcome in outcomes if outcome.verdict is Verdict.RETRY]

    def work(session: "Session") -> set[int]:
        moved = results.archive(session, worker_rid, ended) if ended else set()
        recurring = {outcome.job.id for outcome in ended if outcome.job.has_schedule} & moved
        if recurring:
            _plan_next_runs(session, recurring)
        return moved | (results.reschedule(session, worker_rid, retried) if retried else set())

    is_single = not any(outcome.job.has_schedule for outcome in ended) and not (ended and retried)
    written = database.run_single(work) if is_single else database.run(work)
    for outcome in outcomes:
        if outcome.job.id not in written:
            logger.warning(
                "dropped the outcome %s of job %s, attempt %d: the job is no longer this worker's",
                outcome.verdict.name,
                outcome.job.rid,
                outcome.job.attempt,
            )


def _plan_next_runs(session: "Session", ids: set[int]) -> None:
    for job, now in archive.with_clock(session, ids):
        planned_at = _next_run_at(job, now)
        if planned_at is not None:
            again = NewJob(uuid4(), job.task_name, job.parameters, job.parameters_keyed, job.options, job.parent_rid)
            series = job.series_rid or job.rid
            jobs.insert_next_run(session, again, planned_at, job.schedule_count + 1, series)


def _next_run_at(job: JobArchive, now: datetime) -> datetime | None:
    schedule = job.options.schedule
    if schedule is None or job.status is JobStatus.CANCELLED:
        return None
    occurred_at = job.occurrence_at or schedule.start or job.created_at
    try:
        return next_occurrence(schedule, occurred_at, job.schedule_count, now)
    except OverflowError:  # beyond the year 9999
        return None
