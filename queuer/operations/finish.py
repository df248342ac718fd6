"""Writing down how attempts ended, and the next runs of what recurs."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from queuer.database.database import Database, Work
from queuer.repositories import held, jobs, results, steering
from queuer.sealing import sealed_outcome
from queuer.values import Outcome, Verdict

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

logger = logging.getLogger(__name__)

_ENDINGS = (Verdict.SUCCEEDED, Verdict.FAILED, Verdict.CANCELLED)


def compose(database: Database) -> None:
    """Gets ready to finish jobs: without the database, but it takes some time."""
    results.compose(database.config.schema)


def finish(database: Database, worker_rid: UUID, outcomes: Sequence[Outcome]) -> None:
    """Writes outcomes: all of them, or none when it raises. Safe to repeat when nobody knows whether it was done.

    An outcome of a job that is no longer this worker's is dropped and logged.
    """
    if database.cipher.has_keys:
        outcomes = [sealed_outcome(database.cipher, outcome) for outcome in outcomes]
    if all(outcome.verdict in _ENDINGS and outcome.next_run_at is None for outcome in outcomes):
        written = database.run_direct(lambda direct: results.archived(direct, worker_rid, outcomes))
    else:
        work, is_single = _writing(worker_rid, outcomes)
        written = database.run_single(work) if is_single else database.run(work)
    if len(written) < len(outcomes):
        known = {id(outcome) for outcome in written}  # of one job there may be several
        missing = [outcome for outcome in outcomes if id(outcome) not in known]
        _explain(database, worker_rid, [outcome for outcome in missing if outcome.verdict is not Verdict.UNBEGUN])


def finish_within(session: "Session", worker_rid: UUID, outcome: Outcome) -> bool:
    """Writes the outcome of a job in the transaction in which its task wrote, and which the caller commits.

    False = the job is no longer this worker's, or somebody wants it cancelled: nothing was written, and what the task
    wrote must be rolled back. Until the transaction ends, neither can come about any more.
    """
    if not results.hold(session, worker_rid, outcome.job):
        return False
    return bool(write(session, worker_rid, [outcome]))


def write(session: "Session", worker_rid: UUID, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Writes outcomes in a transaction of the caller's. Returns those of jobs that were still this worker's."""
    work, _ = _writing(worker_rid, outcomes)
    return work(session)


def _writing(worker_rid: UUID, outcomes: Sequence[Outcome]) -> tuple[Work[Sequence[Outcome]], bool]:
    """The work of writing outcomes, which returns the written ones, and whether it is one statement."""
    ended = [outcome for outcome in outcomes if outcome.verdict in _ENDINGS]
    retried = [outcome for outcome in outcomes if outcome.verdict is Verdict.RETRY]
    unbegun = [outcome for outcome in outcomes if outcome.verdict is Verdict.UNBEGUN]

    def work(session: "Session") -> Sequence[Outcome]:
        moved = results.archived(session, worker_rid, ended) if ended else ()
        if follows := {outcome.job.rid: at for outcome in moved if (at := outcome.next_run_at) is not None}:
            jobs.insert_next_runs(session, follows)
        waiting = results.rescheduled(session, worker_rid, retried) if retried else ()
        return [*moved, *waiting, *(_give_back(session, worker_rid, unbegun) if unbegun else ())]

    goes_on = any(outcome.next_run_at is not None for outcome in ended)
    return work, not goes_on and not unbegun and not (ended and retried)


def _give_back(session: "Session", worker_rid: UUID, unbegun: Sequence[Outcome]) -> Sequence[Outcome]:
    given = held.give_back(session, worker_rid, [outcome.job for outcome in unbegun])
    steering.end_cancelled(session, given)
    return [outcome for outcome in unbegun if outcome.job.rid in given]


def _explain(database: Database, worker_rid: UUID, missing: Sequence[Outcome]) -> None:
    """Logs why these outcomes were not written."""
    if not missing:
        return
    before = database.run_single(lambda session: results.written_before(session, worker_rid, missing))
    for outcome in missing:
        told = (outcome.verdict.name, outcome.job.rid, outcome.job.attempt)
        if outcome.job.rid in before:
            logger.info("the outcome %s of job %s, attempt %d, had been written before; the answer was lost", *told)
        else:
            logger.warning("dropped the outcome %s of job %s, attempt %d: the job is no longer this worker's", *told)
