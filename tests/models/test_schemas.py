"""A queue in a schema of its own, read by an application whose tables are elsewhere: the ways of docs/models.md."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from sqlalchemy import Engine, MetaData, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, foreign, mapped_column, relationship, selectinload

from queuer import DatabaseConfiguration, Job, Queuer


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_rid: Mapped[UUID | None]
    job: Mapped[Job | None] = relationship(Job, primaryjoin=lambda: foreign(Order.job_rid) == Job.rid, viewonly=True)


class Worker(Base):
    """Has the name of one of ours."""

    __tablename__ = "worker"
    id: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def q(make_queuer: Callable[..., Queuer], config: DatabaseConfiguration) -> Queuer:
    return make_queuer(on=replace(config, schema="queue"))


@pytest.fixture
def application(empty_config: DatabaseConfiguration) -> Iterator[Callable[..., Engine]]:
    engines = []

    def make(**options: object) -> Engine:
        engines.append(create_engine(empty_config.url, **options))
        Base.metadata.create_all(engines[-1])
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def config(empty_config: DatabaseConfiguration) -> DatabaseConfiguration:
    return empty_config


MakeEngine = Callable[..., Engine]


def test_the_search_path_finds_all_names_that_are_there_once(q: Queuer, application: MakeEngine) -> None:
    engine = application(connect_args={"options": "-csearch_path=public,queue"})
    job = q.add_job("len", "word")
    with Session(engine) as session:
        session.add(Order(id=1, job_rid=job.rid))
        session.commit()
        order = session.scalars(select(Order).join(Order.job).where(Job.task_name == "len")).one()
        session.commit()
        assert order.job
        assert order.job.rid == job.rid


def test_a_statement_can_say_where(q: Queuer, application: MakeEngine) -> None:
    job = q.add_job("len", "word")
    with Session(application(), expire_on_commit=False) as session:
        found = session.scalars(select(Job).execution_options(schema_translate_map={None: "queue"})).one()
        session.commit()
        assert (found.rid, found.task_name) == (job.rid, "len")


QueueJob = aliased(Job, Job.__table__.to_metadata(MetaData(), schema="queue"), adapt_on_names=True)  # type: ignore[attr-defined]


class Parcel(Base):
    __tablename__ = "parcel"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_rid: Mapped[UUID | None]
    job: Mapped[Job | None] = relationship(
        QueueJob, primaryjoin=lambda: foreign(Parcel.job_rid) == QueueJob.rid, viewonly=True
    )


def test_an_alias_can_be_joined_and_related_to_whatever_the_names(q: Queuer, application: MakeEngine) -> None:
    job = q.add_job("len", "word")
    with Session(application()) as session:
        session.add_all([Parcel(id=1, job_rid=job.rid), Worker(id=1)])
        session.flush()
        joined = select(Parcel, QueueJob).join(QueueJob, QueueJob.rid == Parcel.job_rid)
        parcel, found = session.execute(joined.where(QueueJob.task_name == "len")).one()
        assert (parcel.id, found.rid, type(found)) == (1, job.rid, Job)
        assert session.scalars(select(Worker)).one().id == 1
        session.expunge(found)
        assert parcel.job.rid == job.rid
        session.expire_all()
        loaded = session.scalars(select(Parcel).options(selectinload(Parcel.job))).one()
        assert loaded.job
        assert session.scalars(select(Parcel.id).join(Parcel.job)).all() == [1]
