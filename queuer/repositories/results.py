"""What becomes of running jobs: into the archive, or back to wait for a retry.

Every statement that writes is fenced: it touches a job only while (worker, attempt) is still what the caller holds. A
job that was given to someone else is left alone, and is missing from what is returned.
"""

import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Double,
    Integer,
    Interval,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
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
from sqlalchemy.sql.elements import Grouping

from queuer import events
from queuer.models import Job, JobArchive
from queuer.repositories.direct import Direct, Prepared
from queuer.repositories.idleness import limited
from queuer.repositories.moving import moved_to_archive
from queuer.repositories.notify import bound, naming, waking
from queuer.states import JobStatus
from queuer.values import ClaimedJob, Outcome, Verdict

_FIELDS = {
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


# Outcomes travel as one array for each field, so the statement is the same for one and for a thousand. Of a field that
# no outcome has there is no array.
def _array(name: str) -> ColumnElement[Any]:
    return Grouping(bindparam(_PARAMETER + name, type_=ARRAY(_FIELDS[name])))


# They are looked up by the job, in the array of rids, which is in order: a search of ten steps in a thousand. To join
# with them, PostgreSQL would have to make rows of them first, and to keep those for the case that a job changes under
# its hands: nearly half of its work for ten ended jobs.
def _said(name: str) -> ColumnElement[Any]:
    """A field of the outcome of the job at hand."""
    return _array(name)[_PLACE]


_PLACE = func.width_bucket(Job.rid, _array("rid"), type_=Integer)
# Results that are all the same, as those of tasks that return nothing, are said once.
_RESULTS = _array("results")[func.least(_PLACE, func.cardinality(_array("results")))]
_SECOND = literal_column("interval '1 second'", Interval)
_IS_CANCELLED = Job.cancel_requested_at.is_not(None)


_STILL_MINE = and_(
    Job.rid == any_(_array("rid")),
    Job.attempts == _said("attempt"),
    Job.worker_rid == bindparam("worker", type_=Job.rid.type),
)
#: The worker tells how long it took by its monotonic clock; instants are the database's alone.
_ENDED_AT = Job.started_at + _said("elapsed") * _SECOND


def _shortened(failures: ColumnElement[Any]) -> ColumnElement[Any]:
    """Without the texts of the one that has become too old for them: PostgreSQL takes no array above 256 MB."""
    for text in ("traceback", "message", "sealed"):
        failures = failures.op("#-")(array([str(-KEPT_WHOLE - 1), text], type_=Text))
    return failures


_CANCELLED_TOO_LATE = case((_IS_CANCELLED, "JobCancelled: cancelled as it ended"))
_NO_FAILURES = literal_column("'[]'", JSONB)
_FAILURE = func.jsonb_build_object(
    "attempt", Job.attempts, "started_at", Job.started_at, "ended_at", _ENDED_AT, "worker_rid", Job.worker_rid
).op("||")(cast(_said("failure"), JSONB))
_FAILURES = case(
    (_said("failure").is_(None), Job.failures),
    else_=_shortened(func.coalesce(Job.failures, _NO_FAILURES).op("||")(func.jsonb_build_array(_FAILURE))),
)

_WRITTEN = select(
    func.unnest(_array("rid"), type_=Uuid).label("rid"),
    func.unnest(_array("attempt"), type_=Integer).label("attempt"),
).subquery("outcome")
_FAILED_THERE = func.jsonb_build_array(
    func.jsonb_build_object("attempt", _WRITTEN.c.attempt, "worker_rid", bindparam("worker", type_=Job.rid.type))
)


def _archiving(told: Mapping[str, ColumnElement[Any]]) -> Any:
    values = {
        "results": case((_IS_CANCELLED, null()), else_=cast(_RESULTS, JSONB)),
        "ended_at": _ENDED_AT,
        **told,
    }
    moved = moved_to_archive(delete(Job).where(_STILL_MINE), values)
    return select(_unless_all(moved), naming(moved, "ended"))


def _unless_all(changed: CTE) -> ColumnElement[Any]:
    """The rids of the rows that the CTE changed; NULL = of all outcomes: to hand over a thousand takes time."""
    rids = func.coalesce(func.array_agg(changed.c.rid), cast(array([]), ARRAY(Uuid)))
    return select(case((func.count() < func.cardinality(_array("rid")), rids))).select_from(changed).scalar_subquery()


def _archive_statement() -> Any:
    told = {
        "failures": _FAILURES,
        # cancelled counts, also when the task had ended before it could be interrupted
        "status": case((_IS_CANCELLED, JobStatus.CANCELLED.value), else_=_said("verdict")),
        "error": func.coalesce(_said("error"), _CANCELLED_TOO_LATE),
        "series_error": _said("series_error"),
    }
    return _archiving(told)


def _archive_successes_statement() -> Any:
    status = case((_IS_CANCELLED, JobStatus.CANCELLED.value), else_=JobStatus.SUCCEEDED.value)
    return _archiving({"status": status, "error": _CANCELLED_TOO_LATE})


def _reschedule_statement() -> Any:
    waiting = (
        update(Job)
        .where(_STILL_MINE)
        .values(
            status=JobStatus.SCHEDULED,
            # one that was cancelled is claimed at once, and then ends
            scheduled_at=func.clock_timestamp() + case((_IS_CANCELLED, 0), else_=_said("delay")) * _SECOND,
            failures=_FAILURES,
            worker_rid=None,
            started_at=None,
        )
        .returning(Job.rid)
        .cte("waiting")
    )
    return select(_unless_all(waiting), waking(waiting), naming(waiting, "updated"))


_ARCHIVE = Prepared(_archive_statement())
_ARCHIVE_SUCCESSES = Prepared(_archive_successes_statement())
_RESCHEDULE = _reschedule_statement()


def compose(schema: str | None) -> None:
    """Composes the statements of `archive`, for which the first job to end would wait else."""
    _ARCHIVE.compose(schema)
    _ARCHIVE_SUCCESSES.compose(schema)


def hold(session: Session, worker_rid: UUID, job: ClaimedJob) -> bool:
    """Locks a job that is still this attempt's, and that nobody wants cancelled, until the transaction ends. Tells
    whether it is.

    From here on the transaction may not be left idle for long."""
    mine = select(Job.rid, limited()).where(
        Job.rid == job.rid,
        Job.worker_rid == worker_rid,
        Job.attempts == job.attempt,
        Job.cancel_requested_at.is_(None),
    )
    return session.scalar(mine.with_for_update()) is not None


def archive(session: Session | Direct, worker_rid: UUID, outcomes: Sequence[Outcome]) -> set[UUID]:
    """Moves ended jobs from `job` to `job_archive` and tells those who wait for them. Returns the rids of the moved.

    One statement: a job is in exactly one of the two tables, whatever happens.
    """
    return {outcome.job.rid for outcome in archived(session, worker_rid, outcomes)}


def archived(session: Session | Direct, worker_rid: UUID, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """`archive`, for who needs no rids: returns the outcomes that were written."""
    channels = bound(session, ended=events.ended)
    moved: list[Outcome] = []
    for some in _in_order(outcomes):
        are_successes = _are_successes(some)
        statement = _ARCHIVE_SUCCESSES if are_successes else _ARCHIVE
        parameters = _parameters(worker_rid, some, in_full=not are_successes)
        moved += _written(statement.scalar(session, {**channels, **parameters}), some)
    return moved


def reschedule(session: Session, worker_rid: UUID, outcomes: Sequence[Outcome]) -> set[UUID]:
    """Lets failed jobs wait for their retry as SCHEDULED rows, which any worker may take. Returns their rids.

    Tells the workers, whose timers are set for what was due next until now.
    """
    return {outcome.job.rid for outcome in rescheduled(session, worker_rid, outcomes)}


def rescheduled(session: Session, worker_rid: UUID, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """`reschedule`, for who needs no rids: returns the outcomes that were written."""
    channels = bound(session, added=events.added, updated=events.updated)
    waiting: list[Outcome] = []
    for some in _in_order(outcomes):
        waiting += _written(session.scalar(_RESCHEDULE, {**channels, **_parameters(worker_rid, some)}), some)
    return waiting


def _written(unless_all: Sequence[UUID] | None, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    if unless_all is None:
        return outcomes
    written = set(unless_all)
    return [outcome for outcome in outcomes if outcome.job.rid in written]


def written_before(session: Session, worker_rid: UUID, outcomes: Sequence[Outcome]) -> set[UUID]:
    """The rids of jobs of which the worker has written these outcomes before: it may not have heard the answer."""
    ended = select(_WRITTEN.c.rid).where(
        JobArchive.rid == _WRITTEN.c.rid,
        JobArchive.attempts == _WRITTEN.c.attempt,
        JobArchive.worker_rid == bindparam("worker", type_=JobArchive.rid.type),
        JobArchive.status != JobStatus.FAILED,  # that may be the rescuer's doing; a failure of one's own is listed
    )
    failed = [
        select(_WRITTEN.c.rid).where(table.rid == _WRITTEN.c.rid, table.failures.contains(_FAILED_THERE))
        for table in (Job, JobArchive)
    ]
    return set(session.scalars(union_all(ended, *failed), _parameters(worker_rid, outcomes)))


def _in_order(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Outcomes in the order of their jobs' rids, none of which comes twice: in one list, unless there are outcomes of
    several attempts at a job."""
    ordered = sorted(outcomes, key=_number)
    numbers = list(map(_number, ordered))
    if len(set(numbers)) == len(numbers):
        return [ordered]
    distinct = dict(zip(numbers, ordered, strict=True))
    others = [outcome for outcome in ordered if distinct[_number(outcome)] is not outcome]
    return [list(distinct.values()), *_in_order(others)]


#: That of the rid, which is compared and hashed faster, and in the same order as PostgreSQL's.
_number = attrgetter("job.rid.int")


def _parameters(worker_rid: UUID, outcomes: Sequence[Outcome], *, in_full: bool = True) -> dict[str, Any]:
    jobs = [outcome.job for outcome in outcomes]
    results = [outcome.results for outcome in outcomes]
    fields: dict[str, list[Any] | None] = {
        **dict.fromkeys(_FIELDS),
        "rid": [job.rid for job in jobs],
        "attempt": [job.attempt for job in jobs],
        "elapsed": [float(outcome.elapsed) for outcome in outcomes],
        "results": results[:1] if len(set(results)) == 1 else results,
    }
    if in_full:
        fields |= {
            "verdict": [outcome.verdict.name for outcome in outcomes],
            "error": [outcome.failure.error if outcome.failure else None for outcome in outcomes],
            "failure": [_failure_json(outcome) for outcome in outcomes],
            "delay": [float(outcome.delay) for outcome in outcomes],
            "series_error": [outcome.series_error for outcome in outcomes],
        }
    return {"worker": worker_rid, **{_PARAMETER + name: values for name, values in fields.items()}}


def _are_successes(outcomes: Sequence[Outcome]) -> bool:
    """Whether that is all there is to say of them."""
    return all(outcome.verdict is Verdict.SUCCEEDED and outcome.series_error is None for outcome in outcomes)


def _failure_json(outcome: Outcome) -> str | None:
    failure = outcome.failure
    if failure is None or not outcome.is_kept or outcome.verdict is Verdict.CANCELLED:  # to be cancelled is no failure
        return None
    return json.dumps(failure.to_json())
