"""Jobs that have not ended: adding them, one by one or by COPY, and finding them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection, sql
from psycopg.types.json import Jsonb
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from queuer.models import Job
from queuer.repositories.notify import schema_of
from queuer.states import JobStatus
from queuer.values import NewJob

_COPIED: tuple[str, ...] = ("rid", "status", "task_name", "parameters", "parameters_keyed", "options")
_COPIED += ("parent_rid", "series_rid", "scheduled_at")
_COPIED_TYPES = ("uuid", "text", "text", "jsonb", "jsonb", "jsonb", "uuid", "uuid", "timestamptz")


def insert_one(session: Session, job: NewJob) -> Job:
    """Inserts a job, and returns it as the database has it, detached from the session."""
    return _insert(session, job)


def insert_next_run(session: Session, job: NewJob, occurrence_at: datetime, count: int, series_rid: UUID) -> Job:
    """Inserts the next run of a recurring job: due at `occurrence_at`, run number `count` of its series."""
    return _insert(
        session,
        job,
        status=JobStatus.SCHEDULED,
        scheduled_at=occurrence_at,
        occurrence_at=occurrence_at,
        schedule_count=count,
        series_rid=series_rid,
    )


def _insert(session: Session, job: NewJob, **more: Any) -> Job:
    values = {
        "rid": job.rid,
        "status": job.status,
        "task_name": job.task_name,
        "parameters": list(job.parameters),
        "parameters_keyed": job.parameters_keyed or {},
        "options_json": job.options.to_json(),
        "parent_rid": job.parent_rid,
        "series_rid": job.series_rid,
        "scheduled_at": job.scheduled_at,
    }
    inserted = session.scalars(insert(Job).values(**values | more).returning(Job)).one()
    session.expunge(inserted)  # else a later change to it would be written at the caller's commit
    return inserted


def copy_in(session: Session, jobs: Iterable[NewJob]) -> list[UUID]:
    """Inserts jobs by COPY on the session's own psycopg connection, in the order given: all of them or, on any error,
    none. Takes a generator without keeping its jobs. Returns their rids.
    """
    driver: Connection = session.connection().connection.driver_connection  # type: ignore[assignment]
    schema = schema_of(session)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(schema, Job.__tablename__) if schema else sql.Identifier(Job.__tablename__),
        sql.SQL(", ").join(map(sql.Identifier, _COPIED)),
    )
    rids = []
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(_COPIED_TYPES)
        for job in jobs:
            copy.write_row(_row(job))
            rids.append(job.rid)
    return rids


def _row(job: NewJob) -> tuple[Any, ...]:
    json = (Jsonb(list(job.parameters)), Jsonb(job.parameters_keyed or {}), Jsonb(job.options.to_json()))
    return (job.rid, job.status.value, job.task_name, *json, job.parent_rid, job.series_rid, job.scheduled_at)


def find(session: Session, rid: UUID) -> Job | None:
    """The live job with this rid."""
    return session.scalars(select(Job).where(Job.rid == rid)).one_or_none()


def page(session: Session, status: JobStatus | None, last_id: int, entries: int) -> Sequence[Job]:
    """Live jobs, newest first: those with an id below `last_id`, or the newest of all when it is 0."""
    query = select(Job).order_by(Job.id.desc()).limit(entries)
    if status is not None:
        query = query.where(Job.status == status)
    if last_id:
        query = query.where(Job.id < last_id)
    return session.scalars(query).all()
