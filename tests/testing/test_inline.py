"""`queuer_inline`: jobs that run when the test's code commits, in the test's transaction."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from support.applications import Order, items
from support.servers import Databases

from queuer import (
    BatchJob,
    Job,
    JobArchive,
    JobStatus,
    Options,
    Queuer,
    QueuerError,
    Schedule,
    current_job,
    new_queuer_with_db,
    new_static_queuer,
)
from queuer.testing import InlineJobs

pytestmark = pytest.mark.owner  # it makes tables next to the queue's

MODES = ("create_savepoint", "conditional_savepoint", "rollback_only")
AN_HOUR = timedelta(hours=1)


def buy(item: str, session: Session) -> str:
    session.add(Order(item=item))
    return f"bought {item}"


async def buy_async(item: str, session: AsyncSession) -> str:
    session.add(Order(item=item))
    await session.flush()
    return f"bought {item}"


def archived(session: Session) -> list[tuple[str, JobStatus, Any]]:
    rows = session.scalars(select(JobArchive).order_by(JobArchive.id))
    return [(row.task_name, row.status, row.result) for row in rows]


@pytest.mark.parametrize("mode", MODES)
def test_a_job_runs_at_commit_in_the_tests_transaction(
    q: Queuer, connection: Connection, application: Engine, queuer_inline: InlineJobs, mode: Any
) -> None:
    q.add_task(buy)
    with Session(connection, join_transaction_mode=mode) as session:
        session.add(Order(item="tea"))
        q.in_session(session).add_job(buy, "milk")
        assert items(session) == ["tea"]
        session.commit()
        assert items(session) == ["tea", "milk"]
        assert archived(session) == [("buy", JobStatus.SUCCEEDED, "bought milk")]
    assert [job.result for job in queuer_inline.ended] == ["bought milk"]
    with Session(application) as other:
        assert items(other) == archived(other) == []


def test_a_coroutine_runs_too_with_a_session_on_the_tests_connection(
    q: Queuer, rolled_back: Session, queuer_inline: InlineJobs
) -> None:
    q.add_task(buy_async)
    q.in_session(rolled_back).add_job(buy_async, "tea")
    rolled_back.commit()
    assert items(rolled_back) == ["tea"]


def test_what_is_rolled_back_does_not_run(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    q.add_task(buy)
    q.in_session(rolled_back).add_job(buy, "lost")
    rolled_back.rollback()
    with rolled_back.begin_nested() as savepoint:
        q.in_session(rolled_back).add_job(buy, "lost, too")
        savepoint.rollback()
    with rolled_back.begin_nested():
        q.in_session(rolled_back).add_job(buy, "kept")
    assert queuer_inline.ended == []
    rolled_back.commit()
    assert items(rolled_back) == ["kept"]
    assert len(queuer_inline.ended) == 1


def test_a_session_that_really_commits_has_its_jobs_run_in_transactions_of_their_own(
    q: Queuer, application: Engine, queuer_inline: InlineJobs
) -> None:
    q.add_task(buy)
    with Session(application) as session, session.begin():
        q.in_session(session).add_jobs([BatchJob(buy, ["tea"]), BatchJob(buy, ["milk"])])
    with Session(application) as session:
        assert items(session) == ["tea", "milk"]
    assert [job.status for job in q.get_jobs_ended()] == ["SUCCEEDED"] * 2


def test_a_pool_of_one_is_enough(q: Queuer, application: Engine, queuer_inline: InlineJobs) -> None:
    from support.applications import engine_of  # noqa: PLC0415

    q.add_task(buy)
    small = engine_of(q._database.config, pool_size=1, max_overflow=0, pool_timeout=1)  # noqa: SLF001
    with Session(small) as session:
        q.in_session(session).add_job(buy, "tea")
        session.commit()
        assert items(session) == ["tea"]
    small.dispose()


def test_add_job_runs_it_at_once(q: Queuer, application: Engine, queuer_inline: InlineJobs) -> None:
    q.add_task(buy)
    job = q.add_job(buy, "tea")
    assert q.get_job_ended(job.rid).result == "bought tea"
    q.add_jobs([BatchJob(buy, ["milk"])])
    again = q.readd_job_from_archive(job.rid)
    assert q.get_job_ended(again.rid).result == "bought tea"
    with Session(application) as session:
        assert items(session) == ["tea", "milk", "tea"]


def test_a_task_that_uses_the_applications_scoped_session(
    q: Queuer, connection: Connection, queuer_inline: InlineJobs
) -> None:
    """As in Flask-SQLAlchemy."""
    db = scoped_session(sessionmaker(connection, join_transaction_mode="create_savepoint"))

    @q.task
    def brew(item: str) -> str:
        db.add(Order(item=item))
        q.in_session(db).add_job("drink", item)
        db.commit()
        return current_job().task_name

    @q.task
    def drink(item: str) -> int:
        return db.query(Order).filter_by(item=item).count()

    q.in_session(db).add_job(brew, "tea")
    db.commit()
    assert items(db()) == ["tea"]
    assert archived(db()) == [("brew", JobStatus.SUCCEEDED, "brew"), ("drink", JobStatus.SUCCEEDED, 1)]
    db.remove()


def test_jobs_that_jobs_add_run_behind_them(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    order: list[str] = []

    @q.task
    def parent(session: Session) -> None:
        q.in_session(session).add_job("child", 1)
        q.add_job("child", 2)
        order.append("parent")

    @q.task
    def child(number: int) -> None:
        order.append(f"child {number} of {current_job().task_name}")

    q.in_session(rolled_back).add_job(parent)
    q.in_session(rolled_back).add_job(child, 0)
    rolled_back.commit()
    assert order[0] == "parent"
    assert sorted(order[1:]) == ["child 0 of child", "child 1 of child", "child 2 of child"]
    parent_job = queuer_inline.ended[0]
    assert [job.parent_rid for job in queuer_inline.ended].count(parent_job.rid) == 2


def test_scheduled_jobs_run_when_the_test_says_so(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    q.add_task(buy)
    start = datetime.now(UTC) + 24 * AN_HOUR
    hourly = Options(schedule=Schedule(start=start, interval=AN_HOUR, max_count=0))
    later = Options(schedule=Schedule(start=start + 30 * AN_HOUR))
    q.in_session(rolled_back).add_job_with_options(hourly, buy, "tea")
    q.in_session(rolled_back).add_job_with_options(later, buy, "milk")
    rolled_back.commit()
    assert queuer_inline.ended == []
    assert queuer_inline.run_scheduled(start - AN_HOUR) == 0
    assert queuer_inline.run_scheduled(start + 2 * AN_HOUR) == 3
    assert items(rolled_back) == ["tea"] * 3
    assert {job.series_rid for job in queuer_inline.ended} == {queuer_inline.ended[0].rid}
    assert queuer_inline.run_scheduled() == 2
    assert items(rolled_back) == [*["tea"] * 4, "milk"]
    (next_run,) = rolled_back.scalars(select(Job))
    assert next_run.scheduled_at == start + 4 * AN_HOUR


def test_a_job_that_is_due_runs_at_commit_and_its_series_is_planned(
    q: Queuer, rolled_back: Session, queuer_inline: InlineJobs
) -> None:
    q.add_task(buy)
    q.add_next_interval_func_with_name(lambda at, _count: at + 48 * AN_HOUR, "every other day")
    start = datetime.now(UTC) - AN_HOUR
    options = Options(schedule=Schedule(start=start, max_count=2, next_interval="every other day"))
    q.in_session(rolled_back).add_job_with_options(options, buy, "tea")
    rolled_back.commit()
    assert items(rolled_back) == ["tea"]
    assert queuer_inline.run_scheduled() == 1
    assert queuer_inline.run_scheduled() == 0


def test_a_connection_runs_its_jobs_at_its_own_commit_or_when_told(
    q: Queuer, application: Engine, queuer_inline: InlineJobs
) -> None:
    q.add_task(buy)
    with application.begin() as connection:
        q.in_session(connection).add_job(buy, "tea")
    with application.connect() as connection:
        transaction = connection.begin()
        with connection.begin_nested():
            q.in_session(connection).add_job(buy, "milk")
        assert queuer_inline.run() == 1
        assert queuer_inline.run() == 0
        with Session(connection) as session:
            assert items(session) == ["tea", "milk"]
        transaction.rollback()


def test_a_job_of_another_process_waits(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    q.in_session(rolled_back).add_job("of another process", 1)
    rolled_back.commit()
    assert rolled_back.scalars(select(Job.status)).all() == ["QUEUED"]


def test_another_queuer_of_the_process_runs_what_a_static_one_adds(
    q: Queuer, rolled_back: Session, queuer_inline: InlineJobs
) -> None:
    q.add_task(buy)
    static = new_static_queuer(q._database.config)  # noqa: SLF001
    static.in_session(rolled_back).add_job("buy", "tea")
    rolled_back.commit()
    static.stop()
    assert items(rolled_back) == ["tea"]


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_queuer_of_another_test_runs_nothing(
    q: Queuer, rolled_back: Session, queuer_inline: InlineJobs, databases: Databases, is_elsewhere: bool
) -> None:
    """Neither an earlier one of the same database, nor one of another, however late."""

    def of_another_test(item: str) -> None:
        raise AssertionError(item)

    with databases.migrated() as elsewhere:
        here = q._database.config  # noqa: SLF001
        other = (elsewhere, of_another_test) if is_elsewhere else (here, of_another_test)
        pair = [(here, buy), other] if is_elsewhere else [other, (here, buy)]
        queuers = [new_queuer_with_db("one of two", 1, "", config) for config, _ in pair]
        for each, (_, task) in zip(queuers, pair, strict=True):
            each.add_task_with_name(task, "buy")
        q.in_session(rolled_back).add_job("buy", "tea")
        rolled_back.commit()
        for each in queuers:
            each.stop()
    assert items(rolled_back) == ["tea"]


def test_jobs_that_add_each_other_for_ever_are_stopped(
    q: Queuer, rolled_back: Session, queuer_inline: InlineJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuer.testing.inline.MOST_JOBS", 5)
    q.add_task_with_name(lambda: q.in_session(rolled_back).add_job("again") and rolled_back.commit(), "again")
    q.in_session(rolled_back).add_job("again")
    with pytest.raises(QueuerError, match="more than 5 jobs added by jobs"):
        rolled_back.commit()


def test_jobs_run_only_while_it_is_open(q: Queuer, rolled_back: Session) -> None:
    q.add_task(buy)
    with InlineJobs():
        q.in_session(rolled_back).add_job(buy, "tea")
        rolled_back.commit()
    q.in_session(rolled_back).add_job(buy, "milk")
    rolled_back.commit()
    assert items(rolled_back) == ["tea"]
    assert rolled_back.scalar(select(func.count()).select_from(Job)) == 1
