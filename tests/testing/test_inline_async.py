"""`queuer_inline` in tests that are coroutines, and for sessions that are awaited."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from support.applications import ASYNC_DRIVERS, Base, Order, async_engine_of, engine_of

from queuer import BatchJob, DatabaseConfiguration, JobArchive, Options, Queuer, Schedule, current_job
from queuer.testing import AddedJobs, InlineJobs

pytestmark = pytest.mark.owner  # it makes tables next to the queue's


@pytest.fixture(params=ASYNC_DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _tables(config: DatabaseConfiguration) -> None:
    engine = engine_of(config)
    Base.metadata.create_all(engine)
    engine.dispose()


@asynccontextmanager
async def rolled_back(config: DatabaseConfiguration, driver: str) -> AsyncIterator[AsyncSession]:
    async with async_engine_of(config, driver) as engine, engine.connect() as connection:
        transaction = await connection.begin()
        async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
            yield session
        await transaction.rollback()


def buy(item: str, session: Session) -> str:
    session.add(Order(item=item))
    session.flush()
    return current_job().task_name


async def buy_async(item: str, session: AsyncSession) -> str:
    await asyncio.sleep(0)
    session.add(Order(item=item))
    await (await session.connection()).execute(select(1))
    return current_job().task_name


async def items(session: AsyncSession) -> list[str]:
    return list(await session.scalars(select(Order.item).order_by(Order.id)))


def test_tasks_of_both_kinds_run_at_commit_in_the_tests_transaction(
    q: Queuer, config: DatabaseConfiguration, queuer_inline: InlineJobs, queuer_jobs: AddedJobs, driver: str
) -> None:
    q.add_task(buy)
    q.add_task(buy_async)

    async def main() -> None:
        async with rolled_back(config, driver) as session:
            session.add(Order(item="tea"))
            await q.in_session(session).add_job(buy, "milk")
            await q.in_session(session).add_jobs([BatchJob(buy_async, ["water"])])
            await session.commit()
            assert await items(session) == ["tea", "milk", "water"]
            results = await session.scalars(select(JobArchive).order_by(JobArchive.id))
            assert [job.result for job in results] == ["buy", "buy_async"]
            await q.in_session(session).add_job(buy, "lost")
            await session.rollback()
            await session.commit()
        async with async_engine_of(config, driver) as engine, AsyncSession(engine) as session:
            assert await items(session) == []

    asyncio.run(main())
    assert len(queuer_inline.ended) == 2
    queuer_jobs.assert_added(buy, "milk")
    queuer_jobs.assert_not_added(buy, "lost")


def test_what_makes_a_job_fail_is_raised_out_of_the_await(
    q: Queuer, config: DatabaseConfiguration, queuer_inline: InlineJobs, driver: str
) -> None:
    @q.task
    async def fails(session: AsyncSession) -> None:
        session.add(Order(item="lost"))
        await session.flush()
        raise ZeroDivisionError("no")

    async def main() -> None:
        async with rolled_back(config, driver) as session:
            await q.in_session(session).add_job(fails)
            with pytest.raises(ZeroDivisionError):
                await session.commit()
            assert await items(session) == []
            assert [job.error async for job in await session.stream_scalars(select(JobArchive))] == [
                "ZeroDivisionError: no"
            ]

    asyncio.run(main())


def test_a_session_that_really_commits(
    q: Queuer, config: DatabaseConfiguration, queuer_inline: InlineJobs, driver: str
) -> None:
    q.add_task(buy_async)

    async def main() -> None:
        async with async_engine_of(config, driver, pool_size=1, max_overflow=0, pool_timeout=1) as engine:
            async with AsyncSession(engine) as session, session.begin():
                await q.in_session(session).add_job(buy_async, "tea")
            async with AsyncSession(engine) as session:
                assert await items(session) == ["tea"]

    asyncio.run(main())


def test_the_async_doors_of_the_queuer(q: Queuer, config: DatabaseConfiguration, queuer_inline: InlineJobs) -> None:
    q.add_task(buy)
    q.add_task(buy_async)

    async def main() -> None:
        await q.add_job_async(buy, "tea")
        await q.add_job_async(buy_async, "milk")
        await q.add_jobs_async([BatchJob(buy, ["water"]), BatchJob(buy_async, ["oil"])])
        async with async_engine_of(config, "psycopg") as engine, AsyncSession(engine) as session:
            assert await items(session) == ["tea", "milk", "water", "oil"]

    asyncio.run(main())
    q.add_job(buy_async, "outside of any loop")
    assert len(queuer_inline.ended) == 5


def test_a_sync_session_in_a_coroutine(
    q: Queuer, config: DatabaseConfiguration, application: Engine, queuer_inline: InlineJobs
) -> None:
    @q.task
    async def brew(item: str, session: AsyncSession) -> None:
        session.add(Order(item=item))
        await session.flush()

    async def main() -> None:
        with Session(application) as session:
            q.in_session(session).add_job(brew, "tea")
            session.commit()
            assert session.scalars(select(Order.item)).all() == ["tea"]

    asyncio.run(main())


def test_scheduled_and_uncommitted_jobs_run_when_the_test_says_so(
    q: Queuer, config: DatabaseConfiguration, queuer_inline: InlineJobs, driver: str
) -> None:
    q.add_task(buy_async)
    start = datetime.now(UTC) + timedelta(days=1)

    async def main() -> None:
        async with rolled_back(config, driver) as session:
            options = Options(schedule=Schedule(start=start))
            await q.in_session(session).add_job_with_options(options, buy_async, "tea")
            await q.in_session(session).add_job(buy_async, "milk")
            assert await queuer_inline.run_async() == 1
            assert await queuer_inline.run_scheduled_async(start - timedelta(hours=1)) == 0
            assert await queuer_inline.run_scheduled_async() == 1
            assert await items(session) == ["milk", "tea"]

    asyncio.run(main())
