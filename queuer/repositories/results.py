"""What becomes of running jobs: into the archive, or back to wait for a retry.

Every statement is fenced: it touches a job only while (worker, attempt) is still what the caller holds. A job that was
given to someone else is left alone, and is missing from what is returned.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Double,
    Integer,
    Interval,
    Text,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Session

from queuer.events import NAMED_AT_MOST, added_channel, ended_channel
from queuer.models import Job, JobArchive
from queuer.repositories.notify import changed_ids, schema_of, telling
from queuer.states import JobStatus
from queuer.values import Failure, Outcome

_FIELDS = {
    "id": BigInteger,
    "attempt": Integer,
    "verdict": Text,
    "elapsed": Double,
    "results": Text,
    "error": Text,
    "failure": Text,
    "delay": Double,
}

#: SQLAlchemy keeps the bare names of columns for itself in an UPDATE.
_PARAMETER = "outcome_"

# Outcomes travel as one array for each field, so the statement is the same for one and for a thousand.
_OUTCOME = (
    func.unnest(*(bindparam(_PARAMETER + name, type_=ARRAY(kind)) for name, kind in _FIELDS.items()))
    .table_valued(*(column(name, kind) for name, kind in _FIELDS.items()))
    .render_derived(name="outcome")
)
_STILL_MINE = and_(
    Job.id == _OUTCOME.c.id,
    Job.attempts == _OUTCOME.c.attempt,
    Job.worker_rid == bindparam("worker", type_=Job.rid.type),
)
_SECOND = literal_column("interval '1 second'", Interval)
# The worker tells how long it took by its monotonic clock; instants are the database's alone.
_ENDED_AT = Job.started_at + _OUTCOME.c.elapsed * _SECOND
_FAILURE = func.jsonb_build_object(
    "attempt", Job.attempts, "started_at", Job.started_at, "ended_at", _ENDED_AT, "worker_rid", Job.worker_rid
).op("||")(cast(_OUTCOME.c.failure, JSONB))
_FAILURES = case(
    (_OUTCOME.c.failure.is_(None), Job.failures), else_=Job.failures.op("||")(func.jsonb_build_array(_FAILURE))
)


def _archive_statement() -> Any:
    kept = [column.name for column in Job.__table__.columns if column.name not in ("status", "failures")]
    told = {
        "failures": _FAILURES,
        "status": _OUTCOME.c.verdict,
        "results": cast(_OUTCOME.c.results, JSONB),
        "error": _OUTCOME.c.error,
        "ended_at": _ENDED_AT,
    }
    gone = (
        delete(Job)
        .where(_STILL_MINE)
        .returning(*(Job.__table__.c[name] for name in kept), *(value.label(name) for name, value in told.items()))
        .cte("gone")
    )
    moved = (
        insert(JobArchive.__table__)  # type: ignore[arg-type]
        .from_select([*kept, *told], select(*gone.c))
        .returning(JobArchive.id, JobArchive.rid)
        .cte("moved")
    )
    rids = case((func.count() <= NAMED_AT_MOST, func.string_agg(cast(moved.c.rid, Text), ",")), else_="")
    return telling(moved, rids)


def _reschedule_statement() -> Any:
    waiting = (
        update(Job)
        .where(_STILL_MINE)
        .values(
            status=JobStatus.SCHEDULED,
            scheduled_at=func.clock_timestamp() + _OUTCOME.c.delay * _SECOND,
            failures=_FAILURES,
            worker_rid=None,
            started_at=None,
        )
        .returning(Job.id)
        .cte("waiting")
    )
    return telling(waiting, literal(""))


_ARCHIVE = _archive_statement()
_RESCHEDULE = _reschedule_statement()


def archive(session: Session, worker_rid: UUID, outcomes: Sequence[Outcome]) -> set[int]:
    """Moves ended jobs from `job` to `job_archive` and tells those who wait for them. Returns the ids of the moved.

    One statement: a job is in exactly one of the two tables, whatever happens.
    """
    channel = ended_channel(schema_of(session) or "public")
    return changed_ids(session, _ARCHIVE, channel, _parameters(worker_rid, outcomes))


def reschedule(session: Session, worker_rid: UUID, outcomes: Sequence[Outcome]) -> set[int]:
    """Lets failed jobs wait for their retry as SCHEDULED rows, which any worker may take. Returns their ids.

    Tells the workers, whose timers are set for what was due next until now.
    """
    channel = added_channel(schema_of(session) or "public")
    return changed_ids(session, _RESCHEDULE, channel, _parameters(worker_rid, outcomes))


def _parameters(worker_rid: UUID, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    fields = {
        "id": [outcome.job.id for outcome in outcomes],
        "attempt": [outcome.job.attempt for outcome in outcomes],
        "verdict": [outcome.verdict.name for outcome in outcomes],
        "elapsed": [outcome.elapsed for outcome in outcomes],
        "results": [outcome.results for outcome in outcomes],
        "error": [outcome.failure.error if outcome.failure else None for outcome in outcomes],
        "failure": [_failure_json(outcome.failure) for outcome in outcomes],
        "delay": [outcome.delay for outcome in outcomes],
    }
    return {"worker": worker_rid, **{_PARAMETER + name: values for name, values in fields.items()}}


def _failure_json(failure: Failure | None) -> str | None:
    if failure is None:
        return None
    return json.dumps({"type": failure.type, "message": failure.message, "traceback": failure.traceback})
