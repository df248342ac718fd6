"""What is repeated when the server says that it has rolled it back."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from queuer import BatchJob, DatabaseConfiguration, DatabaseUnavailable, Queuer
from queuer.database.database import TRIES, Database, Work
from queuer.database.sources import Source

READ_ONLY = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def database(config: DatabaseConfiguration) -> Iterator[Database]:
    """For threads and coroutines. What comes one after the other uses one connection."""
    database = Source(config).database("tests")
    yield database
    database.close()


class Failing:
    """Work that the server refuses so many times."""

    def __init__(self, sqlstate: str, times: int) -> None:
        self.sqlstate = sqlstate
        self.times = times
        self.runs = 0

    def __call__(self, session: Session) -> str:
        self.runs += 1
        if self.runs <= self.times:
            session.execute(text(f"DO $$ BEGIN RAISE 'refused' USING ERRCODE = '{self.sqlstate}'; END $$"))
        return "done"


@pytest.mark.parametrize("sqlstate", ["40001", "40P01", "25006"])
def test_what_the_server_has_rolled_back_is_done_again(database: Database, sqlstate: str) -> None:
    assert database.run(Failing(sqlstate, times=2)) == "done"
    assert database.run_single(Failing(sqlstate, times=2)) == "done"
    assert asyncio.run(database.run_async(Failing(sqlstate, times=2))) == "done"
    assert asyncio.run(database.run_single_async(Failing(sqlstate, times=2))) == "done"


def test_but_not_for_ever(database: Database) -> None:
    work = Failing("40P01", times=100)
    with pytest.raises(DatabaseUnavailable, match="refused"):
        database.run(work)
    assert work.runs == TRIES


@pytest.mark.parametrize("sqlstate", ["57P01", "53300", "08006"])
def test_what_may_have_been_done_is_not_done_again(database: Database, sqlstate: str) -> None:
    work = Failing(sqlstate, times=1)
    with pytest.raises(DatabaseUnavailable, match="refused"):
        database.run(work)
    assert work.runs == 1


def test_a_deadlock_is_resolved(engine: Engine, config: DatabaseConfiguration) -> None:
    """Two transactions that take two locks in opposite order: PostgreSQL ends one of them, which is run again."""
    database = Database(engine, config)
    both_have_one = threading.Barrier(2)
    runs = []

    def locking(first: int, second: int) -> Work[None]:
        def work(session: Session) -> None:
            runs.append(first)
            session.execute(text(f"SELECT pg_advisory_xact_lock({first})"))
            if len(runs) <= 2:
                both_have_one.wait(timeout=5)
            session.execute(text(f"SELECT pg_advisory_xact_lock({second})"))

        return work

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(database.run, locking(1, 2)), pool.submit(database.run, locking(2, 1))]:
            done.result(timeout=10)
    assert len(runs) == 3


@pytest.mark.owner
def test_a_connection_to_what_has_become_a_standby_is_replaced(database: Database) -> None:
    """As after a failover that closed no connection, behind a proxy."""

    def write(session: Session) -> int | None:
        session.execute(text("INSERT INTO job (task_name) VALUES ('task')"))
        return session.scalar(PID)

    def lose(session: Session) -> int | None:
        session.execute(text(READ_ONLY))
        return session.scalar(PID)

    assert database.run_single(lose) != database.run_single(write)


@pytest.mark.owner
def test_a_statement_whose_columns_a_migration_has_changed_is_prepared_anew(database: Database, engine: Engine) -> None:
    def read(session: Session) -> object:
        return session.scalar(text("SELECT losses FROM job WHERE id = 1"))

    for _ in range(10):  # psycopg prepares what comes again and again
        database.run_single(read)
    alter(engine, "bigint")
    try:
        assert database.run_single(read) is None
    finally:
        alter(engine, "smallint")  # another test gets this database


def alter(engine: Engine, kind: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE job ALTER losses TYPE {kind}"))


def test_a_batch_is_not_repeated_since_its_generator_is_used_up(q: Queuer, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("""CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'refused' USING ERRCODE = '40001'; END $$""")
        )
        connection.execute(text("CREATE TRIGGER refuse AFTER INSERT ON job EXECUTE FUNCTION refuse()"))
    with pytest.raises(DatabaseUnavailable, match="refused"):
        q.add_jobs(BatchJob("task", [n]) for n in range(3))
    with engine.begin() as connection:
        connection.execute(text("DROP FUNCTION refuse CASCADE"))
    assert q.get_jobs() == []
