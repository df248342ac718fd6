"""What a type checker makes of the models in an application. Checked by `tests/checks/static_types.py`, never run."""

from datetime import datetime
from typing import Any, assert_type
from uuid import UUID

from alembic import context, op
from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, foreign, mapped_column, relationship

from queuer import Job, JobArchive, JobStatus, Options, Worker, WorkerStatus, migrations


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_rid: Mapped[UUID | None] = mapped_column(ForeignKey(Job.rid, ondelete="SET NULL"))
    job: Mapped[Job | None] = relationship(Job, primaryjoin=lambda: foreign(Order.job_rid) == Job.rid, viewonly=True)


def selecting(session: Session, order: Order) -> None:
    job = session.scalars(select(Job).where(Job.status == JobStatus.QUEUED)).one()
    assert_type(job.rid, UUID)
    assert_type(job.status, JobStatus)
    assert_type(job.scheduled_at, datetime | None)
    assert_type(job.attempts, int)
    assert_type(job.options, Options)
    assert_type(job.parameters, Any)
    assert_type(order.job, Job | None)
    print(job.result)  # E: "Job" has no attribute "result"
    job.attempts.upper()  # E: "int" has no attribute "upper"
    print(Job.nothing)  # E: "type[Job]" has no attribute "nothing"

    ended = session.scalars(select(JobArchive)).one()
    assert_type(ended.ended_at, datetime)
    assert_type(ended.error, str | None)
    worker = session.scalars(select(Worker)).one()
    assert_type(worker.status, WorkerStatus)
    assert_type(worker.tasks, list[str])

    for one, its_job in session.execute(select(Order, Job).join(Order.job)):
        assert_type(one, Order)
        assert_type(its_job, Job)


def migrating() -> None:
    migrations.upgrade(op, to="0001")
    migrations.downgrade(op, to="base", schema="queue", start="0001")
    migrations.upgrade(op)  # E: Missing positional argument "to"
    migrations.upgrade("0001")  # E: Missing positional argument "to"
    context.configure(include_name=migrations.include_name, include_object=migrations.include_object)
