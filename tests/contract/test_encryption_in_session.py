"""Encryption where the connection is an application's own."""

import asyncio

import pytest
from conftest import MakeQueuer
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from support.applications import ASYNC_DRIVERS, DRIVERS, async_engine_of, engine_of
from support.contract import ended
from support.keys import KEY, OTHER_KEY, SECRET, everything

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    Job,
    Options,
    Rotation,
    new_queuer_with_engine,
    new_static_queuer,
    rotate_encryption,
)

pytestmark = pytest.mark.owner  # the application has a search path of its own

METADATA = Options(metadata={"card": SECRET})


@pytest.mark.parametrize("driver", DRIVERS)
def test_jobs_of_a_callers_transaction_are_hidden_too(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, engine: Engine, driver: str
) -> None:
    q, application = make_queuer(key=KEY), engine_of(config, driver)
    q.add_task(str.upper)
    with Session(application) as session, session.begin():
        job = q.in_session(session).add_job_with_options(METADATA, "upper", SECRET)
        q.in_session(session).add_jobs([BatchJob("upper", [SECRET], options=METADATA)] * 2)
        assert (job.parameters, job.options.metadata) == ([SECRET], {"card": SECRET})
        assert session.scalars(select(Job).limit(1)).one().sealed
    application.dispose()
    assert SECRET not in everything(engine)
    assert [found.parameters for found in q.get_jobs()] == [[SECRET]] * 3
    with q:
        assert ended(q, job).result == SECRET.upper()


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
def test_those_of_coroutines_too(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, engine: Engine, driver: str
) -> None:
    q = make_queuer(key=KEY)

    async def add() -> Job:
        async with async_engine_of(config, driver) as application, AsyncSession(application) as session:
            jobs = q.in_session(session)
            await jobs.add_jobs([BatchJob("upper", [SECRET], options=METADATA)] * 2)
            job = await jobs.add_job_with_options(METADATA, "upper", SECRET)
            await session.commit()
            return job

    assert asyncio.run(add()).parameters == [SECRET]
    assert SECRET not in everything(engine)
    assert [(found.parameters, found.options) for found in q.get_jobs()] == [([SECRET], METADATA)] * 3


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_queuer_on_an_applications_engine_takes_keys(
    config: DatabaseConfiguration, engine: Engine, driver: str
) -> None:
    application = engine_of(config, driver)
    q = new_queuer_with_engine("test", 2, application, encryption_key="open sesame")
    q.add_task(str.upper)
    with q:
        done = ended(q, q.add_job("upper", SECRET))
    assert done.result == SECRET.upper()
    assert SECRET not in everything(engine)
    assert rotate_encryption(f"{OTHER_KEY},open sesame", engine=application) == Rotation(changed=1)
    static = new_static_queuer(engine=application, encryption_key=OTHER_KEY)
    assert static.get_job_ended(done.rid).result == SECRET.upper()
    static.stop()
    application.dispose()


def test_the_end_of_a_job_whose_task_has_a_session_is_hidden_too(make_queuer: MakeQueuer, engine: Engine) -> None:
    q = make_queuer(key=KEY)

    @q.task
    def write(word: str, *, session: Session) -> str:
        session.execute(select(1))
        return word

    @q.task
    async def write_async(word: str, *, session: AsyncSession) -> str:
        await session.execute(select(1))
        return word

    with q:
        for task in (write, write_async):
            assert ended(q, q.add_job(task.__name__, SECRET)).result == SECRET
    assert SECRET not in everything(engine)
