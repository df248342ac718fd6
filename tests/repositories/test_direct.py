"""Statements that go to libpq as they are: what they are given, and what they return."""

import select as system
import signal
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import ARRAY, Double, Engine, Integer, Text, Uuid, bindparam, event, select, text
from sqlalchemy.orm import Session
from support.contract import eventually

from queuer import DatabaseConfiguration, DatabaseUnavailable
from queuer.database.database import Database
from queuer.database.sources import Source
from queuer.repositories import direct as module
from queuer.repositories.direct import Direct, Prepared, rows

RID = UUID("01a220bb-2363-7821-8a38-c4697667afd9")
HARD = ["", "NULL", "null", 'a "word"', "back\\slash", "{a,b}", " ", "línea\n", "☃", None]


@pytest.fixture(params=[5, None], ids=["prepared", "through a pooler"])
def database(config: DatabaseConfiguration, request: pytest.FixtureRequest) -> Iterator[Database]:
    database = Source(config).for_worker("test")

    @event.listens_for(database.engine, "connect")
    def choose(connection: psycopg.Connection[Any], _record: object) -> None:
        connection.prepare_threshold = request.param

    yield database
    database.close()


@pytest.fixture(params=["soon", "late", "no poll()"], autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Answers are waited for in two ways: at first, where the system has `poll()`, and when they don't come soon."""
    monkeypatch.setattr(module, "_SOON", 10_000 if request.param == "soon" else 0)
    if request.param == "no poll()":
        monkeypatch.delattr(system, "poll")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "☃ 'quoted'"),
        ("text", None),
        ("bigint", 2**62),
        ("float8", 1.5e-300),
        ("boolean", True),
        ("uuid", RID),
        ("text[]", HARD),
        ("bigint[]", [1, -2, 2**62]),
        ("uuid[]", [RID]),
        ("text[]", []),
    ],
)
def test_what_is_given_comes_back(database: Database, kind: str, value: Any) -> None:
    for _ in range(2):
        found = database.run_direct(lambda direct: rows(direct, f"SELECT %(value)s::{kind}, 5 %% 3", {"value": value}))
        assert found == [(value, 2)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Text, HARD),
        (Integer, [2**31 - 1, -(2**31)]),
        (Double, [1.5e-300, 0.1, -7.0]),
        (Uuid, [RID, UUID(int=0)]),
        (Text, []),
        (Uuid, None),
    ],
)
def test_a_list_of_outcomes_fields_comes_back(database: Database, kind: type[Any], value: Any) -> None:
    statement = Prepared(select(bindparam("value", type_=ARRAY(kind))))
    for _ in range(2):
        assert database.run_direct(lambda direct: statement.scalar(direct, {"value": value})) == value


def test_what_text_can_not_hold_is_refused(database: Database) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        database.run_direct(lambda direct: rows(direct, "SELECT %(value)s::text", {"value": "a\0b"}))


def test_an_error_of_the_server_is_that_of_the_driver(database: Database) -> None:
    for _ in range(2):  # the connection can be used again
        with pytest.raises(psycopg.errors.DivisionByZero):
            database.run_direct(lambda direct: rows(direct, "SELECT 1 / %(value)s::int", {"value": 0}))
        with pytest.raises(psycopg.errors.UndefinedColumn):
            database.run_direct(lambda direct: rows(direct, "SELECT nothing", {}))


def test_an_answer_may_be_larger_than_what_is_read_at_once(database: Database) -> None:
    query = "SELECT repeat('x', 10000000) FROM generate_series(1, 3)"
    assert database.run_direct(lambda direct: rows(direct, query, {})) == [("x" * 10_000_000,)] * 3
    assert database.run_direct(lambda direct: rows(direct, "SELECT 1", {})) == [(1,)]


def test_an_interrupt_ends_the_statement_in_the_server_too(database: Database, engine: Engine) -> None:
    query = "SELECT pg_sleep(60), 'to be interrupted'"
    is_at_work = text("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query = :query)")

    def interrupt() -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            eventually(lambda: connection.scalar(is_at_work, {"query": query}))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    interrupting = threading.Thread(target=interrupt)
    interrupting.start()

    def work(direct: Direct | Session) -> None:
        assert isinstance(direct, Direct)  # the server is not to find out by itself
        direct.connection.execute("SET client_connection_check_interval = 0")
        rows(direct, query, {})

    try:
        with pytest.raises(KeyboardInterrupt):
            database.run_direct(work)
    finally:
        interrupting.join()
        signal.signal(signal.SIGINT, before)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        eventually(lambda: not connection.scalar(is_at_work, {"query": query}))
    assert database.run_direct(lambda direct: rows(direct, "SELECT 1", {})) == [(1,)]


DEFERRED = """
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)
"""


@pytest.mark.owner
def test_what_fails_at_the_commit_has_failed_though_it_returned_something(database: Database, engine: Engine) -> None:
    """PostgreSQL says that an INSERT is complete, and commits it then."""
    with engine.begin() as connection:
        connection.exec_driver_sql(DEFERRED)
    try:
        for _ in range(2):
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                database.run_direct(lambda direct: rows(direct, "INSERT INTO child VALUES (1) RETURNING parent", {}))
        assert database.run_direct(lambda direct: rows(direct, "SELECT count(*) FROM child", {})) == [(0,)]
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE child; DROP TABLE parent")


def test_a_server_that_ends_the_connection_says_why(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        database.run_direct(lambda direct: rows(direct, "SELECT pg_terminate_backend(pg_backend_pid())", {}))
    assert isinstance(raised.value.__cause__, psycopg.errors.AdminShutdown)
