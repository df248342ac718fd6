"""Connections that are kept at hand for single statements."""

from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from typing import Any
from uuid import uuid4

import pytest
from psycopg import sql
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.jobs import claimed, failed, new_job, succeeded

from queuer import DatabaseConfiguration, DatabaseUnavailable, Queuer
from queuer.database.database import Database
from queuer.database.sources import Source
from queuer.repositories import claims, jobs, results
from queuer.repositories.direct import Direct, Numbered, rows

GROWN = "INSERT INTO job (task_name) SELECT 'task' FROM generate_series(1, 20000)"


@pytest.fixture
def worker(config: DatabaseConfiguration) -> Iterator[Database]:
    database = Source(config).for_worker("test")
    yield database
    database.close()


def pid(direct: Direct | Session) -> int:
    assert isinstance(direct, Direct)
    return direct.connection.info.backend_pid


def plans(direct: Direct | Session) -> list[list[str]]:
    """How a worker's statements are done on this connection, without their costs."""
    assert isinstance(direct, Direct)
    for queued_only, limit in ((False, 1), (True, 1), (True, 1000)):
        claims.take(direct, uuid4(), ["task"], limit, queued_only=queued_only)
    for count in (1, 2):
        claims.take_named(direct, uuid4(), [uuid4() for _ in range(count)], ["task"])
    results.archive(direct, uuid4(), [succeeded(claimed())])
    results.archive(direct, uuid4(), [failed(claimed())])
    prepared = (
        "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements"
        " WHERE name LIKE 'queuer%' ORDER BY statement"
    )
    statements = direct.connection.execute(prepared, prepare=False).fetchall()
    assert len(statements) == 8
    return [plan(direct, name, count) for name, count in statements]


def plan(direct: Direct, name: str, parameters: int) -> list[str]:
    nulls = sql.SQL(", ").join([sql.NULL] * parameters)
    explain = sql.SQL("EXPLAIN (COSTS OFF) EXECUTE {} ({})").format(sql.Identifier(name), nulls)
    return [line.strip() for (line,) in direct.connection.execute(explain, prepare=False)]


@pytest.mark.owner
def test_statements_are_planned_alike_for_a_table_that_is_empty_and_for_one_that_is_full(
    config: DatabaseConfiguration, engine: Engine
) -> None:
    """They are planned once. What is best for an empty table might take a hundred times as long a moment later."""
    worker = Source(config).for_worker("test")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ALTER TABLE job SET (autovacuum_enabled = off)"))
    when_empty = worker.run_direct(plans)
    worker.close()
    with engine.begin() as connection:
        connection.execute(text(GROWN))
        connection.execute(text("ANALYZE job"))
    when_full = worker.run_direct(plans)
    worker.close()
    assert when_empty == when_full
    by_rid = {"Index Cond: (rid = ANY ($1))", "Index Cond: (rid = $2)"}
    named = ["".join(lines) for lines in when_full if by_rid & set(lines)]
    assert len(named) == 5  # those of named jobs, and of outcomes
    assert all("pk_job" in plan and "ix_job" not in plan and "Seq Scan" not in plan for plan in named)


def test_claims_are_planned_before_there_is_anything_to_take(worker: Database, engine: Engine) -> None:
    with Session(engine) as session, session.begin():
        job = jobs.insert_one(session, new_job())

    def planned(direct: Direct | Session) -> list[tuple[int, int]]:
        assert isinstance(direct, Direct)
        claims.plan(direct, uuid4())
        query = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name LIKE 'queuer%'"
        found = direct.connection.execute(query, prepare=False).fetchall()
        assert [each.rid for each in claims.take(direct, uuid4(), ["task"], 1, queued_only=True).jobs] == [job.rid]
        assert direct.connection.execute(query, prepare=False).fetchall() != found
        return found

    assert worker.run_direct(planned) == [(1, 0), (1, 0)]


def test_a_worker_lets_its_claims_be_planned_before_it_drains_a_backlog(
    q: Queuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: SimpleQueue[str] = SimpleQueue()
    send = Direct.send

    def note(direct: Direct, statement: Numbered, parameters: Mapping[str, Any]) -> None:
        sent.put(statement.text)
        send(direct, statement, parameters)

    monkeypatch.setattr(Direct, "send", note)
    q.add_task_with_name(print, "task")
    q.start()
    first, *planned = (sent.get(timeout=5) for _ in range(3))
    assert "due_share" in first
    assert all("queued_share" in text and "due_share" not in text for text in planned)
    assert len(set(planned)) == 2


def test_one_connection_serves_what_comes_one_after_the_other_and_is_closed_with_the_database(
    worker: Database, engine: Engine
) -> None:
    first = worker.run_direct(pid)
    assert worker.run_direct(pid) == first
    worker.close()
    with engine.connect() as connection:
        is_there = text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid AND state = 'idle'")
        assert connection.scalar(is_there, {"pid": first}) == 0
    assert worker.run_direct(pid) != first


def test_one_that_breaks_is_replaced(worker: Database, engine: Engine) -> None:
    first = worker.run_direct(pid)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": first})
    with pytest.raises(DatabaseUnavailable):
        worker.run_direct(lambda direct: results.archive(direct, uuid4(), []))
    assert worker.run_direct(pid) != first


def test_one_that_is_lent_while_the_database_is_closed_is_not_kept(worker: Database) -> None:
    def close_meanwhile(direct: Direct | Session) -> Direct:
        worker.close()
        assert isinstance(direct, Direct)
        return direct

    assert worker.run_direct(close_meanwhile).connection.closed


def test_who_takes_a_connection_from_the_pool_gets_that_which_is_kept(worker: Database) -> None:
    kept = worker.run_direct(pid)
    assert worker.run_single(lambda session: session.scalar(text("SELECT pg_backend_pid()"))) == kept
    assert worker.run(lambda session: session.scalar(text("SELECT pg_backend_pid()"))) == kept
    assert worker.run_direct(pid) == kept


@pytest.mark.owner
def test_a_statement_whose_columns_a_migration_has_changed_is_prepared_anew(worker: Database, engine: Engine) -> None:
    def read(direct: Direct | Session) -> object:
        return rows(direct, "SELECT losses FROM {job} WHERE id = 1", {})

    def alter(kind: str) -> None:
        with engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE job ALTER losses TYPE {kind}"))

    worker.run_direct(read)
    alter("bigint")
    try:
        assert worker.run_direct(read) == []
    finally:
        alter("smallint")  # another test gets this database


def test_one_to_what_has_become_a_standby_is_replaced(worker: Database) -> None:
    def become(direct: Direct | Session) -> int:
        assert isinstance(direct, Direct)
        direct.connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
        return pid(direct)

    def add(direct: Direct | Session) -> int:
        jobs.insert_plain(direct, new_job())
        return pid(direct)

    lost = worker.run_direct(become)
    assert worker.run_direct(add) != lost


def test_one_that_has_rested_is_tried_out_before_it_is_used_where_work_may_not_fail(
    config: DatabaseConfiguration, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("queuer.database.hand.RESTS_AFTER", 0.0)
    producer = Source(config).database("test")
    first = producer.run_direct(pid)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": first})
    job = new_job()
    assert producer.run_direct(lambda direct: jobs.insert_plain(direct, job)).rid == job.rid
    producer.close()
