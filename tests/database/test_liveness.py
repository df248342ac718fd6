"""Connections whose other end is gone, though nobody closed them."""

import asyncio
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import SimpleQueue
from time import monotonic

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from support.contract import eventually
from support.proxy import Proxy
from support.servers import Databases

from queuer import DatabaseConfiguration, DatabaseUnavailable, events
from queuer.database import engines, listener, liveness
from queuer.database.database import Database
from queuer.database.listener import Listener
from queuer.database.sources import Source

ADDED = events.added("public")


@pytest.fixture
def proxy(config: DatabaseConfiguration) -> Iterator[Proxy]:
    with closing(Proxy(config)) as proxy:
        yield proxy


@pytest.fixture
def far(proxy: Proxy) -> Iterator[Database]:
    """The database, through the proxy."""
    database = Source(proxy.config).for_worker("far")
    yield database
    database.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PATIENCE", 0.1)


def one(session: Session) -> int:
    return session.scalar(text("SELECT 1")) or 0


def test_a_half_open_connection_is_noticed_within_seconds_and_replaced(far: Database, proxy: Proxy) -> None:
    assert far.run_single(one) == 1
    proxy.forget()
    since = monotonic()
    with pytest.raises(DatabaseUnavailable, match="does not answer on this connection any more"):
        far.run_single(one)
    assert monotonic() - since < 8
    assert far.run_single(one) == 1


def test_a_coroutine_notices_it_too_and_its_loop_goes_on(proxy: Proxy, impatient: None) -> None:
    far = Source(proxy.config).database("far")

    async def use() -> None:
        assert await far.run_single_async(one) == 1
        proxy.forget()
        waiting = asyncio.ensure_future(far.run_single_async(one))
        turns = 0
        while not waiting.done():
            turns += 1
            await asyncio.wait([waiting], timeout=0.01)
        assert turns > 10
        assert await waiting == 1  # its pool has looked whether the connection works, and replaced it

    asyncio.run(use())
    far.close()


def test_a_server_that_is_out_of_reach_altogether_is_noticed(
    far: Database, proxy: Proxy, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness, "ANSWERS_WITHIN", 2)
    assert far.run_single(one) == 1
    proxy.swallow(True)
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        far.run_single(one)
    proxy.swallow(False)
    assert far.run_single(one) == 1


def test_a_statement_that_the_server_works_on_may_take_its_time(
    far: Database, proxy: Proxy, engine: Engine, impatient: None
) -> None:
    far.run_single(one)
    with engine.connect() as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(text("SELECT pg_advisory_lock(1)"))
        before = proxy.accepted
        slow = pool.submit(far.run_single, lambda session: session.scalar(text("SELECT pg_advisory_lock(1)")))
        eventually(lambda: proxy.accepted >= before + 3)  # it was asked about three times
        assert not slow.done()
        holder.execute(text("SELECT pg_advisory_unlock(1)"))
        slow.result(timeout=5)


def test_a_server_that_lets_nobody_else_in_is_not_taken_for_gone(
    far: Database, proxy: Proxy, engine: Engine, databases: Databases, impatient: None
) -> None:
    """As one that is full refuses us."""
    name = proxy.config.database
    far.run_single(one)
    with engine.connect() as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(text("SELECT pg_advisory_lock(1)"))
        databases.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        before = proxy.accepted
        try:
            slow = pool.submit(far.run_single, lambda session: session.scalar(text("SELECT pg_advisory_lock(1)")))
            eventually(lambda: proxy.accepted >= before + 4)
            assert not slow.done()
        finally:
            databases.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        holder.execute(text("SELECT pg_advisory_unlock(1)"))
        slow.result(timeout=5)


def test_a_listener_whose_connection_is_half_open_listens_again(
    proxy: Proxy, engine: Engine, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "QUIET", 0.1)
    heard: SimpleQueue[str | None] = SimpleQueue()
    ear = Listener(Source(proxy.config))
    try:
        ear.listen(ADDED, heard.put)
        assert heard.get(timeout=5) is None
        proxy.forget()
        assert heard.get(timeout=10) is None  # everything has to be looked at: something may have been missed
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_notify(:channel, 'news')"), {"channel": ADDED.name})
        assert heard.get(timeout=5) == "news"
    finally:
        ear.close()


def test_a_statement_ends_with_the_process_that_waits_for_it(proxy: Proxy, engine: Engine) -> None:
    """Else a killed process would keep its place in the queue for a lock, and all that it has locked before."""
    far = engines.create(proxy.config, application_name="killed")
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'killed' AND wait_event = 'advisory'"
    )
    with engine.connect() as holder, ThreadPoolExecutor(1) as pool:
        if "linux" not in str(holder.scalar(text("SELECT version()"))):
            pytest.skip("only a server on Linux looks")
        holder.execute(text("SELECT pg_advisory_lock(1)"))
        with far.connect() as connection:
            lost = pool.submit(connection.execute, text("SELECT pg_advisory_lock(1)"))
            eventually(lambda: holder.scalar(waiting))
            proxy.cut()
            eventually(lambda: not holder.scalar(waiting))
            with pytest.raises(DBAPIError):
                lost.result(timeout=5)
    far.dispose()


def test_only_others_may_let_their_transactions_rest(config: DatabaseConfiguration) -> None:
    """In a transaction of a worker's, a pause means that the other end is gone, while the rows stay locked."""
    setting = text("SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
    source = Source(config)
    for database in (source.for_worker("worker"), source.heart("heart")):
        assert database.run(lambda session: session.scalar(setting)) == 5_000
        database.close()
    tasks = source.for_tasks("tasks", most=1)
    assert tasks.run(lambda session: session.scalar(setting)) == 0
    assert asyncio.run(tasks.run_async(lambda session: session.scalar(setting))) == 0
    tasks.close()


def test_both_ends_find_out_when_packets_are_not_acknowledged(proxy: Proxy) -> None:
    """The proxy acknowledges everything, so this is what libpq and the server were told, rather than what they do."""
    engine = engines.create(proxy.config, application_name="far")
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        with socket.socket(fileno=driver.pgconn.socket) as end:
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
            end.detach()
        # The proxy's own connection may be a unix socket, where these do nothing, and say so by 0.
        assert connection.scalar(text("SHOW tcp_user_timeout")) in ("10s", "0")
    engine.dispose()
