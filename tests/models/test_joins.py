"""Tables of an application's beside ours: queries, relationships, foreign keys, and what is left when a job ends."""

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import Engine, ForeignKey, create_engine, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, foreign, mapped_column, relationship, selectinload

from queuer import (
    ConfigurationError,
    DatabaseConfiguration,
    Job,
    JobArchive,
    JobStatus,
    Options,
    Queuer,
    Worker,
    new_queuer_with_db,
)

pytestmark = pytest.mark.owner  # it makes tables next to the queue's


class Base(DeclarativeBase):
    pass


class Order(Base):
    """Keeps the rid, which is the job's for good: what docs/models.md recommends."""

    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_rid: Mapped[UUID | None]
    job: Mapped[Job | None] = relationship(Job, primaryjoin=lambda: foreign(Order.job_rid) == Job.rid, viewonly=True)
    ended_job: Mapped[JobArchive | None] = relationship(
        JobArchive, primaryjoin=lambda: foreign(Order.job_rid) == JobArchive.rid, viewonly=True
    )


class Pending(Base):
    """Refers to the job by a foreign key, while there is one."""

    __tablename__ = "pending"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_rid: Mapped[UUID | None] = mapped_column(ForeignKey(Job.rid, ondelete="SET NULL"), index=True)
    job: Mapped[Job | None] = relationship(Job)


class Held(Base):
    """What must not be: no action."""

    __tablename__ = "held"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_rid: Mapped[UUID] = mapped_column(ForeignKey(Job.rid))


@pytest.fixture
def engine(config: DatabaseConfiguration) -> Iterator[Engine]:
    """The application's own: of another schema it knows nothing."""
    engine = create_engine(config.url)
    yield engine
    engine.dispose()


@pytest.fixture
def tables(engine: Engine) -> None:
    Base.metadata.create_all(engine, tables=[Base.metadata.tables[name] for name in ("order", "pending")])


def finish(q: Queuer, rid: UUID) -> None:
    q.add_task_with_name(len, "len")
    with q:
        assert q.wait_for_job_finished(rid)


@pytest.mark.usefixtures("tables")
def test_an_order_finds_its_job_before_and_after_its_end(q: Queuer, engine: Engine) -> None:
    job = q.add_job("len", "word")
    with Session(engine) as session:
        session.add(Order(id=1, job_rid=job.rid))
        session.commit()
        order = session.get_one(Order, 1)
        assert (order.job and order.job.task_name, order.ended_job) == ("len", None)
        session.rollback()
        finish(q, job.rid)
        assert (order.job, order.ended_job and order.ended_job.result) == (None, 4)


@pytest.mark.usefixtures("tables")
def test_joins(q: Queuer, engine: Engine) -> None:
    first, second = q.add_job("len", "word"), q.add_job("other")
    with Session(engine) as session:
        session.add_all([Order(id=1, job_rid=first.rid), Order(id=2, job_rid=second.rid), Order(id=3)])
        session.flush()
        waiting = select(Order.id, Job.task_name).join(Order.job).where(Job.status == JobStatus.QUEUED)
        assert session.execute(waiting.order_by(Order.id)).all() == [(1, "len"), (2, "other")]
        without = select(Order.id).outerjoin(Job, Job.rid == Order.job_rid).where(Job.id.is_(None))
        assert session.scalars(without).all() == [3]
        of_workers = select(Job).join(Worker, Worker.rid == Job.worker_rid)
        assert session.scalars(of_workers).all() == []
        loaded = session.scalars(select(Order).options(selectinload(Order.job)).order_by(Order.id)).all()
        assert [order.job and order.job.rid for order in loaded] == [first.rid, second.rid, None]


def test_what_is_in_json(q: Queuer, engine: Engine) -> None:
    q.add_job_with_options(Options(metadata={"tenant": 7}), "len", "word")
    q.add_job_with_options(Options(metadata={"tenant": 8}), "len", ["a", "b"])
    with Session(engine) as session:
        tenant = Job.options_json["metadata"]["tenant"].as_integer()
        assert session.scalars(select(Job.parameters).where(tenant == 7)).all() == [["word"]]
        assert session.scalars(select(tenant).where(Job.parameters.contains([["a", "b"]]))).all() == [8]


@pytest.mark.usefixtures("tables")
def test_in_an_async_session(q: Queuer, config: DatabaseConfiguration) -> None:
    job = q.add_job("len", "word")

    async def ask() -> object:
        engine = create_async_engine(config.url)
        async with AsyncSession(engine) as session:
            session.add(Order(id=1, job_rid=job.rid))
            await session.flush()
            found = (await session.scalars(select(Order).options(selectinload(Order.job)))).one().job
        await engine.dispose()
        return found

    assert repr(asyncio.run(ask())) == repr(job)


@pytest.mark.usefixtures("tables")
def test_a_foreign_key_is_set_null_when_the_job_ends(q: Queuer, engine: Engine) -> None:
    job = q.add_job("len", "word")
    with Session(engine) as session:
        session.add(Pending(id=1, job=session.get_one(Job, job.rid)))
        session.commit()
        assert session.get_one(Pending, 1).job_rid == job.rid
        session.rollback()
        finish(q, job.rid)
        assert session.get_one(Pending, 1).job is None


def test_a_foreign_key_that_would_keep_jobs_from_ending_is_refused(
    config: DatabaseConfiguration, engine: Engine
) -> None:
    Base.metadata.create_all(engine, tables=[Base.metadata.tables["held"]])
    wanted = "foreign key 'held_job_rid_fkey' of table held would keep rows of job from being deleted.*SET NULL"
    with pytest.raises(ConfigurationError, match=wanted):
        new_queuer_with_db("test", 1, "", config)
