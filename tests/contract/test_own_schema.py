"""A queue in a schema that no search path leads to, while the application's tables stay where they are."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from support.applications import ASYNC_DRIVERS, DRIVERS, Base, Order, async_engine_of, engine_of
from support.contract import ended

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    Queuer,
    new_queuer_with_db,
    new_queuer_with_engine,
    new_static_queuer,
)

SCHEMA = "queue"


@pytest.fixture
def engine(empty_config: DatabaseConfiguration) -> Iterator[Engine]:
    """The application's, whose tables are in `public`."""
    engine = engine_of(empty_config)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


Make = Callable[[], Queuer]


@pytest.fixture(params=["by engine", "by configuration"])
def make(request: pytest.FixtureRequest, empty_config: DatabaseConfiguration, engine: Engine) -> Iterator[Make]:
    with ExitStack() as stack:

        def make() -> Queuer:
            if request.param == "by engine":
                q = new_queuer_with_engine("test", 2, engine, schema=SCHEMA)
            else:
                q = new_queuer_with_db("test", 2, "", replace(empty_config, schema=SCHEMA))
            stack.callback(q.stop, timeout=0)
            return q

        yield make


def items(engine: Engine) -> list[str]:
    with Session(engine) as session:
        return list(session.scalars(select(Order.item).order_by(Order.item)))


def test_what_tasks_write_is_in_the_applications_tables(make: Make, engine: Engine) -> None:
    q = make()

    def buy(session: Session, item: str) -> None:
        session.add(Order(item=item))
        q.in_session(session).add_job("later")

    async def buy_async(session: AsyncSession, item: str) -> None:
        session.add(Order(item=item))
        await q.in_session(session).add_jobs([BatchJob("later")])

    q.add_task(buy)
    q.add_task(buy_async)
    q.start()
    for task, item in ((buy, "tea"), (buy_async, "milk")):
        done = ended(q, q.add_job(task, item))
        assert done.error is None
    assert items(engine) == ["milk", "tea"]
    assert [job.task_name for job in q.get_jobs()] == ["later"] * 2


@pytest.mark.parametrize("driver", DRIVERS)
def test_jobs_of_the_callers_session_are_in_the_queues(
    empty_config: DatabaseConfiguration, engine: Engine, driver: str
) -> None:
    q = new_static_queuer(replace(empty_config, schema=SCHEMA))
    theirs = engine_of(empty_config, driver)
    with Session(theirs) as session, session.begin():
        session.add(Order(item="tea"))
        q.in_session(session).add_job("one")
        q.in_session(session).add_jobs([BatchJob("two")])
        session.add(Order(item="milk"))
    assert [job.task_name for job in q.get_jobs()] == ["two", "one"]
    assert items(engine) == ["milk", "tea"]
    q.stop()
    theirs.dispose()


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
def test_and_those_of_coroutines(empty_config: DatabaseConfiguration, engine: Engine, driver: str) -> None:
    q = new_static_queuer(replace(empty_config, schema=SCHEMA))

    async def main() -> None:
        async with async_engine_of(empty_config, driver) as theirs, AsyncSession(theirs) as session:
            session.add(Order(item="tea"))
            await q.in_session(session).add_job("one")
            await q.in_session(session).add_jobs([BatchJob("two")])
            await session.commit()

    asyncio.run(main())
    assert [job.task_name for job in q.get_jobs()] == ["two", "one"]
    assert items(engine) == ["tea"]
    q.stop()
