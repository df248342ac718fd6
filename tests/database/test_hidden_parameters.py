"""What our statements carry stays out of errors, also on an application's engine, which shows what its own carry."""

import asyncio

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from support.applications import async_engine_of
from support.keys import SECRET

from queuer import DatabaseConfiguration
from queuer.database.application_engines import source_of
from queuer.database.sources import Source

FAILING = text("SELECT 1 / CAST(:zero AS int), CAST(:secret AS text)")
PARAMETERS = {"zero": 0, "secret": SECRET}


def test_on_an_engine_of_ours(config: DatabaseConfiguration) -> None:
    database = Source(config).database("tests")
    with pytest.raises(DBAPIError, match="division by zero") as caught:
        database.run(lambda session: session.execute(FAILING, PARAMETERS))
    assert SECRET not in str(caught.value)
    database.close()


def test_on_an_applications_engine(engine: Engine) -> None:
    engine.hide_parameters = False
    database = source_of(engine, None, None).database("tests")
    with pytest.raises(DBAPIError, match="division by zero") as caught:
        database.run(lambda session: session.execute(FAILING, PARAMETERS))
    assert SECRET not in str(caught.value)
    with pytest.raises(DBAPIError, match=SECRET), engine.connect() as connection:
        connection.execute(FAILING, PARAMETERS)


def test_on_an_applications_async_engine(config: DatabaseConfiguration) -> None:
    async def fail() -> None:
        async with async_engine_of(config) as engine:
            database = source_of(engine, None, None).database("tests")
            with pytest.raises(DBAPIError, match="division by zero") as caught:
                await database.run_async(lambda session: session.execute(FAILING, PARAMETERS))
            assert SECRET not in str(caught.value)
            database.close()

    asyncio.run(fail())
