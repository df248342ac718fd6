"""Where no job can be added in the caller's session: the error says what to do, and nothing else has happened."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, sessionmaker
from support.applications import Base, Order, async_engine_of, engine_of

from queuer import BatchJob, DatabaseConfiguration, Queuer, QueuerError
from queuer.database import engines, migrate

pytestmark = pytest.mark.owner  # the application has tables of its own


def _goes_on(q: Queuer, session: Session) -> None:
    """What the caller did before is committed, and nothing of ours."""
    session.commit()
    assert session.scalars(select(Order.item)).all() == ["tea"]
    assert q.get_jobs() == []


@pytest.mark.parametrize("given", [None, "session", 7, sessionmaker(), create_engine("postgresql+psycopg://")], ids=str)
def test_what_is_no_session_at_all(q: Queuer, given: Any) -> None:
    with pytest.raises(TypeError, match="allowed is a SQLAlchemy Session, scoped_session, Connection, AsyncSession"):
        q.in_session(given)


def test_a_closed_connection(q: Queuer, application: Engine) -> None:
    connection = application.connect()
    connection.close()
    with pytest.raises(QueuerError, match="is closed.*give one that is open"):
        q.in_session(connection).add_job("brew")


def test_a_session_that_was_closed_for_good(q: Queuer, application: Engine) -> None:
    session = Session(application, close_resets_only=False)
    session.close()
    with pytest.raises(QueuerError, match="closed.*give one that is open"):
        q.in_session(session).add_job("brew")


def test_a_session_without_an_engine(q: Queuer) -> None:
    with Session() as session, pytest.raises(QueuerError, match="bind"):
        q.in_session(session).add_job("brew")


@pytest.mark.parametrize("has_tables", [True, False])
def test_a_session_of_another_database(
    q: Queuer, application: Engine, empty_config: DatabaseConfiguration, has_tables: bool
) -> None:
    if has_tables:
        theirs = engines.create(empty_config, application_name="tests")
        migrate.upgrade(theirs, empty_config)
        theirs.dispose()
    other = engine_of(empty_config, application.dialect.driver)
    Base.metadata.create_all(other)
    with Session(other) as session:
        session.add(Order(item="tea"))
        session.flush()
        for add in (lambda: q.in_session(session).add_job("brew"), lambda: q.in_session(session).add_jobs([])):
            with pytest.raises(QueuerError, match="another database than the queuer's.*new_queuer_with_engine"):
                add()
        _goes_on(q, session)
    other.dispose()


def test_a_read_only_transaction(q: Queuer, application: Engine) -> None:
    with Session(application) as session:
        session.add(Order(item="tea"))
        session.flush()
        session.execute(text("SET TRANSACTION READ ONLY"))
        with pytest.raises(QueuerError, match="read-only; add the job in one that may write"):
            q.in_session(session).add_job("brew")
        with pytest.raises(QueuerError, match="read-only"):
            q.in_session(session).add_jobs([BatchJob("brew")])
        _goes_on(q, session)


@pytest.mark.parametrize("knows", [True, False])
def test_a_transaction_that_has_failed(q: Queuer, application: Engine, knows: bool) -> None:
    with Session(application) as session:
        if knows:
            q.in_session(session).add_job("lost")
        with pytest.raises(DBAPIError):
            session.execute(text("SELECT 1 / 0"))
        with pytest.raises(QueuerError, match="has failed before; roll it back, and then add the job"):
            q.in_session(session).add_job("brew")
        session.rollback()
        job = q.in_session(session).add_job("brew")
        session.commit()
    assert [found.rid for found in q.get_jobs()] == [job.rid]


def test_a_session_that_waits_for_its_rollback(q: Queuer, application: Engine) -> None:
    with Session(application) as session:
        session.add_all([Order(id=1, item="tea"), Order(id=1, item="coffee")])
        with pytest.raises(DBAPIError):
            session.flush()
        with pytest.raises(PendingRollbackError, match=r"first issue Session.rollback\(\)"):
            q.in_session(session).add_job("brew")
        session.rollback()
    assert q.get_jobs() == []


def test_an_autocommit_connection(q: Queuer, application: Engine) -> None:
    with application.connect() as connection:
        single = connection.execution_options(isolation_level="AUTOCOMMIT")
        with pytest.raises(QueuerError, match="in autocommit, so there is no transaction to take part in; use add_job"):
            q.in_session(single).add_job("brew")
    assert q.get_jobs() == []


def test_a_session_on_an_async_engine_at_the_sync_door(q: Queuer, config: DatabaseConfiguration) -> None:
    async def main() -> None:
        async with async_engine_of(config) as engine, AsyncSession(engine) as session:
            with pytest.raises(QueuerError, match=r"await in_session\(async_session\).add_job"):
                q.in_session(session.sync_session).add_job("brew")

    asyncio.run(main())
    assert q.get_jobs() == []


def test_a_nested_begin_is_sqlalchemys_to_refuse(q: Queuer, application: Engine) -> None:
    with Session(application) as session, session.begin():
        job = q.in_session(session).add_job("brew")
        with pytest.raises(Exception, match="A transaction is already begun"):
            session.begin()
    assert [found.rid for found in q.get_jobs()] == [job.rid]


def test_two_threads_in_one_session(q: Queuer, application: Engine) -> None:
    is_in, may_go_on = threading.Event(), threading.Event()

    def batch() -> Iterator[BatchJob]:
        yield BatchJob("first")
        is_in.set()
        assert may_go_on.wait(10)

    with Session(application) as session:
        session.add(Order(item="tea"))
        session.flush()
        thread = threading.Thread(target=lambda: q.in_session(session).add_jobs(batch()))
        thread.start()
        assert is_in.wait(10)
        with pytest.raises(QueuerError, match="in use by another thread or coroutine; give each a session of its own"):
            q.in_session(session).add_job("second")
        may_go_on.set()
        thread.join()
        session.commit()
        assert session.scalars(select(Order.item)).all() == ["tea"]
    assert [job.task_name for job in q.get_jobs()] == ["first"]


def test_two_coroutines_in_one_session(q: Queuer, config: DatabaseConfiguration) -> None:
    async def main() -> None:
        async with async_engine_of(config) as engine, AsyncSession(engine) as session:
            second: list[asyncio.Task[Any]] = []

            def batch() -> Iterator[BatchJob]:
                second.append(asyncio.create_task(q.in_session(session).add_job("second")))
                yield from [BatchJob("first")] * 5000  # in the midst of which the other one gets its turn

            assert len(await q.in_session(session).add_jobs(batch())) == 5000
            with pytest.raises(QueuerError, match="in use by another thread or coroutine"):
                await second[0]
            await session.commit()

    asyncio.run(main())
    assert {job.task_name for job in q.get_jobs(entries=1000)} == {"first"}
