"""What a connection through PgBouncer can be used for, and that nothing of ours stays behind in the server."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest
from sqlalchemy import text
from support.pgbouncer import check_nothing_is_left, pgbouncer

from queuer import DatabaseConfiguration
from queuer.database import engines
from queuer.database.async_engines import AsyncEngines
from queuer.database.pooling import keeps_session
from queuer.database.sources import Source


@pytest.fixture
def pooled(config: DatabaseConfiguration) -> Iterator[DatabaseConfiguration]:
    with pgbouncer(config) as pooled:
        yield pooled


def judge(config: DatabaseConfiguration) -> bool:
    source = Source(config)
    with closing(source.connect()) as connection:
        return keeps_session(connection, source.connect)


def test_a_server_keeps_sessions(config: DatabaseConfiguration) -> None:
    assert judge(config)


def test_a_pooler_by_session_keeps_sessions(config: DatabaseConfiguration) -> None:
    with pgbouncer(config, "session") as pooled:
        assert judge(pooled)


@pytest.mark.parametrize("round_robin", [False, True])
@pytest.mark.parametrize("size", [1, 4])
def test_a_pooler_by_transaction_does_not(config: DatabaseConfiguration, size: int, round_robin: bool) -> None:
    with pgbouncer(config, size=size, round_robin=round_robin) as pooled:
        warm_up(pooled, size)
        assert not judge(pooled)


def warm_up(pooled: DatabaseConfiguration, size: int) -> None:
    """Lets the pooler have all its server processes."""
    with ExitStack() as stack:
        for _ in range(size):
            connection = stack.enter_context(closing(psycopg.connect(**pooled.connection_parameters)))
            connection.execute("SELECT 1")


def test_through_a_pooler_nothing_is_prepared_and_nothing_is_set(pooled: DatabaseConfiguration) -> None:
    engine = engines.create(pooled, application_name="tests")
    for _ in range(10):  # psycopg prepares what is run more than five times
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
    engine.dispose()
    check_nothing_is_left(pooled)


async def _ask_often(engines: AsyncEngines) -> None:
    engine = engines.of_running_loop()
    for _ in range(10):
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
    await engine.dispose()


def test_nor_by_coroutines(pooled: DatabaseConfiguration) -> None:
    asyncio.run(_ask_often(AsyncEngines(pooled)))
    check_nothing_is_left(pooled)


def test_at_the_server_itself_statements_are_prepared_and_settings_made(config: DatabaseConfiguration) -> None:
    engine = engines.create(config, application_name="tests", most=1)
    with engine.connect() as connection:
        for _ in range(10):
            connection.execute(text("SELECT 1"))
        assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) != 0
        changed = connection.scalars(text("SELECT name FROM pg_settings WHERE source = 'session'")).all()
        assert "client_connection_check_interval" in changed
    engine.dispose()
