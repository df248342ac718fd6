"""What becomes of running jobs: into the archive, or back to wait for a retry.

Every statement that writes is fenced: it touches a job only while (worker, attempt) is still what the caller holds. A
job that was given to someone else is left alone, and is missing from what is returned.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Interval,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    func,
    literal_column,
    null,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, array
from sqlalchemy.orm import Session

from queuer import events
from queuer.models import Job, JobArchive
from queuer.repositories import literals
from queuer.repositories.direct import Direct, Prepared
from queuer.repositories.idleness import limited
from queuer.repositories.moving import moved_to_archive
from queuer.repositories.notify import bound, ids_of, naming, waking
from queuer.states import JobStatus
from queuer.values import ClaimedJob, Outcome, Verdict

_FIELDS = {
    "id": BigInteger,
    "rid": Uuid,
    "attempt": Integer,
    "verdict": Text,
    "elapsed": Double,
    "results": Text,
    "error": Text,
    "failure": Text,
    "delay": Double,
    "series_error": Text,
}


#: Failures of a job that are kept with their messages and tracebacks; the older ones without.
KEPT_WHOLE = 100

#: SQLAlchemy keeps the bare names of columns for itself in an UPDATE.
_PARAMETER = "outcome_"

# Outcomes travel as one array for each field, so the statement is the same for one and for a thousand. They travel as
# text: to write arrays takes the driver longer than all the rest. Of a field that no outcome has there is no array.
_OUTCOME = (
    func.unnest(*(cast(bindparam(_PARAMETER + name, type_=Text), ARRAY(kind)) for name, kind in _FIELDS.items()))
    .table_valued(*(column(name, kind) for name, kind in _FIELDS.items()))
    .render_derived(name="outcome")
)
_STILL_MINE = and_(
    Job.id == _OUTCOME.c.id,
    Job.rid == _OUTCOME.c.rid,  # a failover that lost the last jobs gives their ids to others
    Job.attempts == _OUTCOME.c.attempt,
    Job.worker_rid == bindparam("worker", type_=Job.rid.type),
)
_SECOND = literal_column("interval '1 second'", Interval)
# The worker tells how long it took by its monotonic clock; instants are the database's alone.
_ENDED_AT = Job.started_at + _OUTCOME.c.elapsed * _SECOND
_IS_CANCELLED = Job.cancel_requested_at.is_not(None)


def _shortened(failures: ColumnElement[Any]) -> ColumnElement[Any]:
    """Without the texts of the one that has become too old for them: PostgreSQL takes no array above 256 MB."""
    for text in ("traceback", "message", "sealed"):
        failures = failures.op("#-")(array([str(-KEPT_WHOLE - 1), text], type_=Text))
    return failures


_FAILURE = func.jsonb_build_object(
    "attempt", Job.attempts, "started_at", Job.started_at, "ended_at", _ENDED_AT, "worker_rid", Job.worker_rid
).op("||")(cast(_OUTCOME.c.failure, JSONB))
_FAILURES = case(
    (_OUTCOME.c.failure.is_(None), Job.failures),
    else_=_shortened(Job.failures.op("||")(func.jsonb_build_array(_FAILURE))),
)

_FAILED_THERE = func.jsonb_build_array(
    func.jsonb_build_object("attempt", _OUTCOME.c.attempt, "worker_rid", bindparam("worker", type_=Job.rid.type))
)


def _archive_statement() -> Any:
    told = {
        "failures": _FAILURES,
        # cancelled counts, also when the task had ended before it could be interrupted
        "status": case((_IS_CANCELLED, JobStatus.CANCELLED.value), else_=_OUTCOME.c.verdict),
        "results": case((_IS_CANCELLED, null()), else_=cast(_OUTCOME.c.results, JSONB)),
        "error": func.coalesce(_OUTCOME.c.error, case((_IS_CANCELLED, "JobCancelled: cancelled as it ended"))),
        "series_error": _OUTCOME.c.series_error,
        "ended_at": _ENDED_AT,
    }
    moved = moved_to_archive(delete(Job).where(_STILL_MINE), told)
    return select(ids_of(moved), naming(moved, moved.c.rid, "ended"))


def _reschedule_statement() -> Any:
    waiting = (
        update(Job)
        .where(_STILL_MINE)
        .values(
            status=JobStatus.SCHEDULED,
            # one that was cancelled is claimed at once, and then ends
            scheduled_at=func.clock_timestamp() + case((_IS_CANCELLED, 0), else_=_OUTCOME.c.delay) * _SECOND,
            failures=_FAILURES,
            worker_rid=None,
            started_at=None,
        )
        .returning(Job.id)
        .cte("waiting")
    )
    return select(ids_of(waiting), waking(waiting), naming(waiting, waiting.c.id, "updated"))


_ARCHIVE = Prepared(_archive_statement())
_RESCHEDULE = _reschedule_statement()


def compose(schema: str | None) -> None:
    """Composes the statement of `archive`, for which the first job to end would wait else."""
    _ARCHIVE.compose(schema)


def hold(session: Session, worker_rid: UUID, job: ClaimedJob) -> bool:
    """Locks a job that is still this attempt's, and that nobody wants cancelled, until the transaction ends. Tells
    whether it is.

    From here on the transaction may not be left idle for long."""
    mine = select(Job.id, limited()).where(
        Job.id == job.id,
        Job.rid == job.rid,
        Job.worker_rid == worker_rid,
        Job.attempts == job.attempt,
        Job.cancel_requested_at.is_(None),
    )
    return session.scalar(mine.with_for_update()) is not None


def archive(session: Session | Direct, worker_rid: UUID, outcomes: Sequence[Outcome]) -> set[int]:
    """Moves ended jobs from `job` to `job_archive` and tells those who wait for them. Returns the ids of the moved.

    One statement: a job is in exactly one of the two tables, whatever happens.
    """
    channels = bound(session, ended=events.ended)
    return set(_ARCHIVE.scalar(session, {**channels, **_parameters(worker_rid, outcomes)}) or ())


def reschedule(session: Session, worker_rid: UUID, outcomes: Sequence[Outcome]) -> set[int]:
    """Lets failed jobs wait for their retry as SCHEDULED rows, which any worker may take. Returns their ids.

    Tells the workers, whose timers are set for what was due next until now.
    """
    channels = bound(session, added=events.added, updated=events.updated)
    return set(session.scalar(_RESCHEDULE, {**channels, **_parameters(worker_rid, outcomes)}) or ())


def written_before(session: Session, worker_rid: UUID, outcomes: Sequence[Outcome]) -> set[int]:
    """The ids of those jobs that the worker has written these outcomes of already: it may not have heard the answer."""
    ended = select(_OUTCOME.c.id).where(
        JobArchive.id == _OUTCOME.c.id,
        JobArchive.attempts == _OUTCOME.c.attempt,
        JobArchive.worker_rid == bindparam("worker", type_=JobArchive.rid.type),
        JobArchive.status != JobStatus.FAILED,  # that may be the rescuer's doing; a failure of one's own is listed
    )
    failed = [
        select(_OUTCOME.c.id).where(table.id == _OUTCOME.c.id, table.failures.contains(_FAILED_THERE))
        for table in (Job, JobArchive)
    ]
    return set(session.scalars(union_all(ended, *failed), _parameters(worker_rid, outcomes)))


def _parameters(worker_rid: UUID, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    jobs = [outcome.job for outcome in outcomes]
    fields: dict[str, str | None] = {
        "id": literals.array([str(job.id) for job in jobs]),
        "rid": literals.array([job.rid.hex for job in jobs]),
        "attempt": literals.array([str(job.attempt) for job in jobs]),
        "elapsed": literals.array([str(outcome.elapsed) for outcome in outcomes]),
        "results": literals.array_of_texts([outcome.results for outcome in outcomes]),
    }
    if all(outcome.verdict is Verdict.SUCCEEDED and outcome.series_error is None for outcome in outcomes):
        none = dict.fromkeys(("error", "failure", "delay", "series_error"))
        fields |= {"verdict": literals.array([Verdict.SUCCEEDED.name] * len(outcomes)), **none}
    else:
        fields |= {
            "verdict": literals.array([outcome.verdict.name for outcome in outcomes]),
            "error": literals.array_of_texts(
                [outcome.failure.error if outcome.failure else None for outcome in outcomes]
            ),
            "failure": literals.array_of_texts([_failure_json(outcome) for outcome in outcomes]),
            "delay": literals.array([str(outcome.delay) for outcome in outcomes]),
            "series_error": literals.array_of_texts([outcome.series_error for outcome in outcomes]),
        }
    return {"worker": worker_rid, **{_PARAMETER + name: values for name, values in fields.items()}}


def _failure_json(outcome: Outcome) -> str | None:
    failure = outcome.failure
    if failure is None or not outcome.is_kept or outcome.verdict is Verdict.CANCELLED:  # to be cancelled is no failure
        return None
    return json.dumps(failure.to_json())
