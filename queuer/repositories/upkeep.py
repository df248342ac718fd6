"""The master's duties: taking jobs back from dead workers, and deleting what is old."""

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import sql
from sqlalchemy import (
    Double,
    Interval,
    Select,
    Text,
    and_,
    any_,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from queuer import events
from queuer.models import IS_RUNNING, Job, JobArchive, Worker
from queuer.models.base import within_calendar
from queuer.repositories.direct import schema_of
from queuer.repositories.moving import moved_to_archive
from queuer.repositories.notify import bound, naming, rids_of, waking
from queuer.repositories.timescale import functions_of
from queuer.states import JobStatus, WorkerStatus

_SECOND = literal_column("interval '1 second'", Interval)
_DAY = literal_column("interval '1 day'", Interval)

#: How often a worker may die under a job before the job fails.
MOST_LOSSES = 3

#: Jobs that one statement takes back, and ended ones that one deletes: locks are held for a moment only.
BATCH = 1000
ARCHIVE_BATCH = 10_000


def mark_silent(session: Session, stale_after: float) -> list[UUID]:
    """Marks the workers that have been silent for too many seconds as STOPPED, and returns their rids.

    None when the server itself has not run for that long: after an outage everybody gets the time to be heard again.
    """
    limit = func.clock_timestamp() - literal(stale_after, Double) * _SECOND
    silent = (
        update(Worker)
        .where(Worker.status == WorkerStatus.RUNNING, Worker.heartbeat_at < limit)
        .where(func.pg_postmaster_start_time() < limit)
        .values(status=WorkerStatus.STOPPED)
        .returning(Worker.rid)
    )
    return list(session.scalars(silent))


_OWNER_LIVES = exists().where(Worker.rid == Job.worker_rid, Worker.status != WorkerStatus.STOPPED)
# A paused worker's open transaction may hold a row: that one waits for the next round.
_ORPHANS = (
    select(Job.rid).where(IS_RUNNING, ~_OWNER_LIVES).order_by(Job.id).limit(BATCH).with_for_update(skip_locked=True)
)
# One that was cancelled is queued, and ends as cancelled.
# Not above it: a count near the end of its type that another program wrote must not fail the rescue of all the others;
# nor one below zero let a job kill more workers.
_ONE_MORE = func.least(func.greatest(Job.losses, 0), MOST_LOSSES) + 1
_IS_HOPELESS = and_(Job.losses >= MOST_LOSSES, Job.cancel_requested_at.is_(None))

_NEXT_INTERVAL = ("schedule", "next_interval")
_NOBODY_TO_ASK = func.concat(
    "the next-interval function '", Job.options_json[_NEXT_INTERVAL].astext, "' could not be asked: the worker died"
)


def _requeue_statement() -> Any:
    orphans = _ORPHANS.where(~_IS_HOPELESS).cte("orphans")
    requeued = (
        update(Job)
        .where(Job.rid == any_(func.array(select(orphans.c.rid).scalar_subquery())))
        .values(status=JobStatus.QUEUED, worker_rid=None, started_at=None, losses=_ONE_MORE)
        .returning(Job.rid)
        .cte("requeued")
    )
    return select(rids_of(requeued), waking(requeued), naming(requeued, "updated"))


def _fail_statement() -> Any:
    orphans = _ORPHANS.where(_IS_HOPELESS).cte("orphans")
    error = f"WorkerLost: the worker died under the job {MOST_LOSSES + 1} times"
    moved = moved_to_archive(
        delete(Job).where(Job.rid == any_(func.array(select(orphans.c.rid).scalar_subquery()))),
        {
            "status": literal(JobStatus.FAILED.value),
            "error": literal(error),
            "losses": _ONE_MORE,
            "series_error": case((Job.options_json[_NEXT_INTERVAL].astext.is_not(None), _NOBODY_TO_ASK)),
        },
    )
    return select(rids_of(moved), naming(moved, "ended"))


_REQUEUE = _requeue_statement()
_FAIL = _fail_statement()


def requeue_orphans(session: Session) -> set[UUID]:
    """Queues again the jobs whose worker has stopped or is not there. Returns their rids."""
    return set(session.scalar(_REQUEUE, bound(session, added=events.added, updated=events.updated)) or ())


def fail_orphans(session: Session) -> set[UUID]:
    """Archives as FAILED the orphans under which too many workers died: else such a job would kill them all."""
    return set(session.scalar(_FAIL, bound(session, ended=events.ended)) or ())


def series_of(session: Session, rids: Collection[UUID]) -> list[tuple[UUID, str, int, datetime, datetime]]:
    """Of those ended jobs that have an interval: rid, options as JSON, number and planned start of the run, and now."""
    planned_at = within_calendar(func.coalesce(JobArchive.occurrence_at, JobArchive.created_at))
    query = select(
        JobArchive.rid,
        cast(JobArchive.options_json, Text),
        JobArchive.schedule_count,
        planned_at,
        func.clock_timestamp(),
    ).where(JobArchive.rid.in_(rids), JobArchive.options_json[("schedule", "interval")].astext.is_not(None))
    return [tuple(row) for row in session.execute(query)]


def delete_workers(session: Session, delete_after: float) -> list[UUID]:
    """Deletes the rows of workers that do not run and were last heard of longer ago than these seconds."""
    is_old = Worker.heartbeat_at < func.clock_timestamp() - literal(delete_after, Double) * _SECOND
    holds_jobs = exists().where(IS_RUNNING, Job.worker_rid == Worker.rid)
    old = delete(Worker).where(Worker.status != WorkerStatus.RUNNING, is_old, ~holds_jobs).returning(Worker.rid)
    return list(session.scalars(old))


_OWNS = text("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = CAST(:relation AS regclass)")


def delete_archived(session: Session, days: int) -> int:
    """Deletes jobs that ended more than so many days ago. Returns how many rows, or TimescaleDB's chunks, that were.

    A hypertable loses whole chunks, which costs next to nothing, but is for its owner to do. Else one batch goes; call
    again as long as it is a full one.
    """
    schema = schema_of(session)
    relation = sql.Identifier(*([schema] if schema else []), JobArchive.__tablename__).as_string()
    functions = functions_of(session.connection(), schema)
    if functions is None or not session.scalar(_OWNS, {"relation": relation}):
        is_old = JobArchive.ended_at < func.clock_timestamp() - literal(days, Double) * _DAY
        old: Select[Any] = select(JobArchive.id).where(is_old).limit(ARCHIVE_BATCH)
        chosen = any_(func.array(old.scalar_subquery()))  # not by ctid: each chunk of a hypertable has its own
        result = session.execute(delete(JobArchive).where(JobArchive.id == chosen, is_old))
        return int(result.rowcount)  # type: ignore[attr-defined]
    drop_chunks = sql.Identifier(functions, "drop_chunks").as_string().replace(":", r"\:")
    dropped = text(f"SELECT {drop_chunks}(CAST(:relation AS regclass), older_than => make_interval(days => :days))")
    return len(session.execute(dropped, {"relation": relation, "days": days}).all())
