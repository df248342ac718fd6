"""What a session of an application's would write into the queue's tables is refused, and what it reads is not."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import ForeignKey, inspect, select, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from support.jobs import new_job

from queuer import DatabaseConfiguration, Job, JobArchive, JobStatus, Master, Queuer, QueuerError, ReadOnlyModel, Worker
from queuer.repositories import jobs

pytestmark = pytest.mark.owner  # it makes tables next to the queue's


class Base(DeclarativeBase):
    pass


class Note(Base):
    """A row of the application's."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_rid: Mapped[UUID | None] = mapped_column(ForeignKey(Job.rid, ondelete="SET NULL"))
    job: Mapped[Job | None] = relationship(Job)


@pytest.mark.parametrize(
    ("row", "door"),
    [
        (lambda: Job(task_name="len"), r"<Job task_name=len> was added to.*add_job.*in_session\(session\).add_job"),
        (lambda: JobArchive(task_name="len"), "<JobArchive task_name=len> was added to.*readd_job_from_archive"),
        (lambda: Worker(name="me", max_concurrency=1), "<Worker name=me> was added to.*stop_worker"),
        (lambda: Master(id=2), "<Master> was added to.*MasterSettings"),
    ],
)
def test_a_new_row_is_refused(session: Session, row: Callable[[], object], door: str) -> None:
    session.add(row())
    with pytest.raises(ReadOnlyModel, match=door) as caught:
        session.flush()
    assert isinstance(caught.value, QueuerError)
    assert isinstance(caught.value, TypeError)


def test_a_changed_row_is_refused_with_the_names_of_what_changed(session: Session) -> None:
    rid = jobs.insert_one(session, new_job("len")).rid
    job = jobs.get(session, rid)
    job.status = JobStatus.RUNNING
    job.priority = 5
    with pytest.raises(
        ReadOnlyModel, match=rf"<Job id={job.id} rid={rid} .*was changed \((status, priority|priority, status)\) in"
    ):
        session.flush()


def test_a_change_is_refused_by_a_query_that_flushes_first_and_at_the_commit(session: Session) -> None:
    master = session.scalars(select(Master)).one()
    master.retention_archive = 1
    with pytest.raises(ReadOnlyModel):
        session.scalars(select(Job)).all()
    session.rollback()
    master.retention_archive = 1
    with pytest.raises(ReadOnlyModel):
        session.commit()


def test_a_deleted_row_is_refused(session: Session) -> None:
    job = jobs.get(session, jobs.insert_one(session, new_job("len")).rid)
    session.delete(job)
    with pytest.raises(ReadOnlyModel, match=r"<Job .* was deleted in .*cancel_job"):
        session.flush()


def test_what_a_queuer_returns_can_be_changed_but_not_merged(q: Queuer, engine: Any) -> None:
    job = q.add_job("len", "word")
    job.priority = 7
    with Session(engine) as session:
        session.merge(job)
        with pytest.raises(ReadOnlyModel, match=r"was changed \(priority\)"):
            session.commit()
    assert q.get_job(job.rid).priority == 0


def test_an_object_of_ones_own_can_be_changed(session: Session) -> None:
    job = jobs.get(session, jobs.insert_one(session, new_job("len")).rid)
    session.expunge(job)
    job.status = JobStatus.RUNNING
    session.flush()
    assert jobs.get(session, job.rid).status == JobStatus.QUEUED


def test_setting_what_is_set_already_is_no_change(session: Session) -> None:
    job = jobs.get(session, jobs.insert_one(session, new_job("len")).rid)
    job.status = JobStatus.QUEUED
    session.flush()


def test_rows_of_the_applications_refer_to_jobs(session: Session) -> None:
    Note.__table__.create(session.connection())  # type: ignore[attr-defined]
    job = jobs.get(session, jobs.insert_one(session, new_job("len")).rid)
    note = Note(job=job)
    session.add(note)
    session.flush()
    assert note.job_rid == job.rid
    session.delete(note)
    session.flush()
    assert not inspect(job).deleted


def test_statements_pass(session: Session) -> None:
    rid = jobs.insert_one(session, new_job("len")).rid
    session.execute(update(Job).where(Job.rid == rid).values(priority=3))
    assert jobs.get(session, rid).priority == 3


def test_async_sessions(config: DatabaseConfiguration) -> None:
    async def add() -> None:
        engine = create_async_engine(config.url)
        async with AsyncSession(engine) as session:
            session.add(Job(task_name="len"))
            with pytest.raises(ReadOnlyModel):
                await session.commit()
        await engine.dispose()

    asyncio.run(add())


def test_a_repr_asks_for_nothing(session: Session) -> None:
    assert repr(Job()) == "<Job>"
    job = jobs.get(session, jobs.insert_one(session, new_job("len")).rid)
    assert repr(job) == f"<Job id={job.id} rid={job.rid} task_name=len status=QUEUED attempts=0>"
    session.expire(job)
    session.close()
    assert repr(job) == "<Job>"
    assert repr(session.scalars(select(Master)).one()) == "<Master worker_rid=None heartbeat_at=None>"
