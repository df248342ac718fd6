"""Jobs that have not ended: adding them, one by one or by COPY, and finding them."""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, Connection, sql
from sqlalchemy import ARRAY, ColumnElement, DateTime, Uuid, bindparam, column, func, literal, select
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, class_mapper
from sqlalchemy.orm.attributes import instance_state
from sqlalchemy.util import await_only

from queuer.models import Job, JobArchive
from queuer.payload import compact, decode, is_plain
from queuer.repositories import copying, in_order, search
from queuer.repositories.direct import Direct, schema_of, sent
from queuer.rids import new_rid
from queuer.states import JobStatus
from queuer.values import MOST_RUNS, NewJob, Page, PlainJobs, one_by_one

_INHERITED = ("task_name", "parameters", "parameters_keyed", "options", "queue", "priority", "parent_rid", "key_id")

# The transaction goes on while the caller's generator is asked for more: the trigger must take no lock; see
# `engines.COMMITS_SOON`.
_TAKES_ITS_TIME = "SET LOCAL queuer.commits_soon = off"

#: Rows of one INSERT, for drivers without COPY.
_INSERTED_AT_ONCE = 1000


_INSERT = """
INSERT INTO {job} (rid, task_name, parameters) VALUES (%(rid)s, %(task_name)s, %(parameters)s::jsonb)
RETURNING id, created_at"""
# Tells by itself, in half of the time that the trigger takes. Only as a transaction of its own: what it says to the
# trigger, of revision 0006, holds until that ends.
_INSERT_AND_TELL = f"""{_INSERT},
CASE WHEN pg_catalog.set_config('queuer.told', 'on', true) = 'on'
          AND NOT pg_catalog.pg_try_advisory_xact_lock({{added_key}})
     THEN pg_catalog.pg_notify({{added}}, id || ':' || rid) END"""

# What the table makes of columns that nobody names.
_DEFAULTS: dict[str, Any] = {
    "status": JobStatus.QUEUED,
    "queue": "default",
    "priority": 0,
    "unique_key": None,
    "parent_rid": None,
    "series_rid": None,
    "schedule_count": 1,
    "occurrence_at": None,
    "attempts": 0,
    "losses": 0,
    "worker_rid": None,
    "scheduled_at": None,
    "started_at": None,
    "cancel_requested_at": None,
    "key_id": None,
}


_MAPPER = class_mapper(Job)  # configured: instances are made past what would do that
_MANAGER = _MAPPER.class_manager


def insert_one(session: Session, job: NewJob) -> Job:
    """Inserts a job, and returns it as the database has it, detached from the session."""
    inserted = session.scalars(insert(Job).values(**_values(job)).returning(Job)).one()
    session.expunge(inserted)  # else a later change to it would be written at the caller's commit
    return inserted


def insert_plain(session: Session | Direct, job: NewJob) -> Job:
    """`insert_one` for a plain job: in a third of its time."""
    values = {"rid": job.rid, "task_name": job.task_name, "parameters": compact(job.parameters).decode()}
    inserting = _INSERT_AND_TELL if isinstance(session, Direct) else _INSERT
    is_kept_as_given = is_plain(job.parameters)
    answer = sent(session, inserting if is_kept_as_given else f"{inserting}, parameters::text", values)
    inserted = _loaded(job)  # while the server inserts it
    (row,) = answer()
    columns = inserted.__dict__
    columns["id"], columns["created_at"], *_ = row
    if not is_kept_as_given:  # jsonb may write a number in another way
        columns["parameters"] = decode(row[-1])
    return inserted


def _loaded(job: NewJob) -> Job:
    """A plain job as if a session had loaded it, and it were detached now. Without what the database adds."""
    loaded = _MANAGER.new_instance()
    instance_state(loaded).key = _MAPPER.identity_key_from_primary_key((job.rid,))
    loaded.__dict__ |= {
        **_DEFAULTS,
        "rid": job.rid,
        "task_name": job.task_name,
        "parameters": list(job.parameters),
        "parameters_keyed": {},
        "options_json": {},
        "failures": [],
    }
    return loaded


def insert_unless_there(session: Session, job: NewJob) -> Job | None:
    """Like `insert_one`, but does nothing when there is a live job with this rid already."""
    adding = insert(Job).values(**_values(job)).on_conflict_do_nothing(index_elements=["rid"])
    inserted = session.scalars(adding.returning(Job)).one_or_none()
    if inserted is not None:
        session.expunge(inserted)
    return inserted


def insert_unseen(session: Session, job: NewJob) -> Job:
    """Like `insert_one`, for a user who may insert jobs but read none: what the database adds is None, also the id."""
    values = _values(job)
    session.execute(insert(Job).values(**values))
    inserted = Job(**values)
    inserted.unseal(session.info["database"].cipher)
    return inserted


def _values(job: NewJob) -> dict[str, Any]:
    return {
        "rid": job.rid,
        "status": job.status,
        "task_name": job.task_name,
        "parameters": job.parameters,
        "parameters_keyed": job.parameters_keyed or {},
        "options_json": job.options_json,
        "parent_rid": job.parent_rid,
        "series_rid": job.series_rid,
        "scheduled_at": job.scheduled_at,
        "occurrence_at": job.scheduled_at,
        "key_id": job.key_id,
    }


def delete(session: Session, rid: UUID) -> None:
    """Deletes a live job as if it had never been added."""
    session.execute(sql_delete(Job).where(Job.rid == rid))


def insert_next_runs(session: Session, next_runs: Mapping[UUID, datetime]) -> None:
    """Inserts the next runs of recurring jobs, by the rids of the last ones, which have been archived.

    Not of those that were cancelled.
    """
    run = (
        func.unnest(
            bindparam("rids", type_=ARRAY(Uuid)),
            bindparam("new_rids", type_=ARRAY(Uuid)),
            bindparam("instants", type_=ARRAY(DateTime(timezone=True))),
        )
        .table_valued(column("rid", Uuid), column("new_rid", Uuid), column("at", DateTime(timezone=True)))
        .render_derived(name="run")
    )
    last = JobArchive.__table__.c
    values: dict[str, ColumnElement[Any]] = {name: last[name] for name in _INHERITED} | {
        "rid": run.c.new_rid,
        "status": literal(JobStatus.SCHEDULED.value),
        "series_rid": func.coalesce(last.series_rid, last.rid),
        "schedule_count": last.schedule_count + 1,
        "scheduled_at": run.c.at,
        "occurrence_at": run.c.at,
    }
    goes_on = (last.status != JobStatus.CANCELLED.value, last.schedule_count < MOST_RUNS)
    chosen = select(*values.values()).where(last.rid == run.c.rid, *goes_on)
    statement = insert(Job.__table__).from_select(list(values), chosen)  # type: ignore[arg-type]
    new_rids = [new_rid() for _ in next_runs]
    session.execute(statement, {"rids": list(next_runs), "new_rids": new_rids, "instants": list(next_runs.values())})


def insert_many(session: Session, jobs: Iterable[NewJob | PlainJobs]) -> list[UUID]:
    """Inserts jobs in the order given, by COPY when the session is on psycopg. Takes a generator without keeping its
    jobs. Returns their rids. What is inserted when `jobs` raises is for the caller to undo, unless the connection is
    in autocommit.
    """
    driver = session.connection().connection.driver_connection
    if isinstance(driver, (Connection, AsyncConnection)):
        return _copy_in(session, driver, jobs)
    rids: list[UUID] = []
    rest = one_by_one(jobs)
    while chunk := list(islice(rest, _INSERTED_AT_ONCE)):
        session.execute(insert(Job), [_values(job) for job in chunk])
        rids += [job.rid for job in chunk]
    return rids


def _copy_in(session: Session, driver: Connection | AsyncConnection, jobs: Iterable[NewJob | PlainJobs]) -> list[UUID]:
    """Inserts jobs by COPY on the session's own psycopg connection: all of them or, on any error, none."""
    rids: list[UUID] = []
    is_one, parts = copying.parts(jobs, rids)
    # A transaction where there is none yet, and one statement does not suffice.
    is_ours = driver.autocommit and not is_one
    together: Any = driver.transaction() if is_ours else nullcontext()
    copies = ((_copy_statement(schema_of(session), part.columns), part.chunks) for part in parts)
    if isinstance(driver, AsyncConnection):
        await_only(_send(driver, together, copies, is_ours=is_ours))
        return rids
    with together, driver.cursor() as cursor:
        if is_ours:
            cursor.execute(_TAKES_ITS_TIME)
        for statement, chunks in copies:
            with cursor.copy(statement) as copy:
                for chunk in chunks:
                    copy.write(chunk)
    return rids


def _copy_statement(schema: str | None, columns: Iterable[str]) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(schema, Job.__tablename__) if schema else sql.Identifier(Job.__tablename__),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
    )


async def _send(
    driver: AsyncConnection[Any],
    together: AbstractAsyncContextManager[Any],
    copies: Iterable[tuple[sql.Composed, Iterable[bytes]]],
    *,
    is_ours: bool,
) -> None:
    async with together, driver.cursor() as cursor:
        if is_ours:
            await cursor.execute(_TAKES_ITS_TIME)
        for statement, chunks in copies:
            async with cursor.copy(statement) as copy:
                for chunk in chunks:
                    await copy.write(chunk)
                    await asyncio.sleep(0)  # others in the event loop want to go on, too


def get(session: Session, rid: UUID) -> Job:
    """The live job with this rid, which must exist."""
    return session.scalars(select(Job).where(Job.rid == rid)).one()


def find_all(session: Session, rids: Collection[UUID]) -> Sequence[Job]:
    """The live ones among these jobs."""
    return session.scalars(select(Job).where(Job.rid.in_(rids))).all()


def find_by_ids(session: Session, ids: Collection[int]) -> Sequence[Job]:
    """The live ones among these jobs."""
    is_one = Job.id.between(ids[0], ids[-1]) if isinstance(ids, range) and ids else Job.id.in_(ids)
    return session.scalars(in_order.jobs(is_one)).all()


def find(session: Session, rid: UUID) -> Job | None:
    """The live job with this rid."""
    return session.scalars(select(Job).where(Job.rid == rid)).one_or_none()


def page(session: Session, wanted: Page) -> Sequence[Job]:
    """Live jobs, newest first."""
    return search.live(session, wanted)
