"""Whom an INSERT, a claim or an outcome tells, and what it names."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.hearing import ADDED, ENDED, UPDATED, Heard, alone, listen, nothing_more
from support.jobs import FIRST, new_job, succeeded, to_retry

from queuer import BatchJob, DatabaseConfiguration, Queuer, events, new_queuer_with_db
from queuer.database.listener import Listener
from queuer.database.sources import Source
from queuer.events import Channel, read_added, read_rids
from queuer.models import Job
from queuer.repositories import jobs, results
from queuer.repositories.claims import claim, take_named
from queuer.repositories.direct import Direct
from queuer.repositories.held import give_back


def test_an_insert_is_one_notification_however_many_rows(engine: Engine, added: Heard) -> None:
    with Session(engine) as session, session.begin():
        jobs.insert_many(session, [new_job() for _ in range(500)])
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO job (task_name) SELECT 'task' FROM generate_series(1, 500)"))
    with alone(engine) as connection:
        connection.execute(text("INSERT INTO job (task_name) SELECT 'task' FROM generate_series(1, 500)"))
    told = [read_added(added.get(timeout=5) or "") for _ in range(3)]
    assert [len(named.ids) for named in told] == [500, 500, 500]
    assert nothing_more(added, engine, ADDED)


@pytest.fixture
def _trigger_says_so(engine: Engine) -> Iterator[None]:
    with alone(engine) as connection:
        function = connection.scalar(text("SELECT pg_get_functiondef('queuer_notify_added'::regproc)"))
        connection.exec_driver_sql(
            function.replace("pg_notify(channel, named)", "pg_notify(channel, 'by the trigger')")
        )
        yield
        connection.exec_driver_sql(function)


@pytest.mark.owner
@pytest.mark.usefixtures("_trigger_says_so")
def test_a_single_job_is_told_of_without_the_trigger_and_what_follows_by_it(
    engine: Engine, added: Heard, q: Queuer, config: DatabaseConfiguration
) -> None:
    for number in (1, 1.50):  # of the second the database is asked what it made of it
        job = q.add_job("task", number)
        assert added.get(timeout=5) == f"{job.id}:{job.rid}"
    with alone(engine) as connection:
        connection.execute(text("INSERT INTO job (task_name) VALUES ('task')"))
    assert added.get(timeout=5) == "by the trigger"

    def work(direct: Session | Direct) -> Job:
        assert isinstance(direct, Direct)
        job = jobs.insert_plain(direct, new_job())
        direct.connection.execute("INSERT INTO job (task_name) VALUES ('task')")
        return job

    database = Source(config).for_worker("test")
    job = database.run_direct(work)
    database.close()
    assert [added.get(timeout=5) for _ in range(2)] == [f"{job.id}:{job.rid}", "by the trigger"]


FAN_OUT = """
CREATE FUNCTION fan_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO job (task_name) VALUES ('another');
    RETURN NULL;
END
$$"""
FOR_EACH = """
CREATE TRIGGER fan_out AFTER INSERT ON job FOR EACH ROW WHEN (NEW.task_name = 'task') EXECUTE FUNCTION fan_out()"""


@pytest.mark.owner
def test_what_an_applications_trigger_adds_to_a_job_is_told_too(engine: Engine, added: Heard, q: Queuer) -> None:
    with alone(engine) as connection:
        connection.exec_driver_sql(FAN_OUT)
        connection.exec_driver_sql(FOR_EACH)
        try:
            job = q.add_job("task")
        finally:
            connection.exec_driver_sql("DROP FUNCTION fan_out CASCADE")
    another = next(each for each in q.get_jobs() if each.task_name == "another")
    told = {added.get(timeout=5) for _ in range(2)}
    assert told == {f"{each.id}:{each.rid}" for each in (job, another)}


def test_a_rolled_back_insert_is_not_told(engine: Engine, added: Heard) -> None:
    with Session(engine) as session:
        jobs.insert_one(session, new_job())
    assert nothing_more(added, engine, ADDED)


def test_given_back_and_retried_jobs_wake_the_workers_too(engine: Engine, added: Heard) -> None:
    with Session(engine) as session, session.begin():
        new = set(jobs.insert_many(session, [new_job(), new_job()]))
    assert read_added(added.get(timeout=5) or "").rids == new
    with Session(engine) as session, session.begin():
        taken = claim(session, FIRST, ["task"], limit=2)
        results.reschedule(session, FIRST, [to_retry(taken[0])])
    assert added.get(timeout=5) == ""
    with Session(engine) as session, session.begin():
        give_back(session, FIRST)
    assert added.get(timeout=5) == ""


@pytest.mark.parametrize("count", [1, 50, 51, 120])
def test_ended_jobs_are_named_in_notifications_of_a_bounded_size(
    engine: Engine, listener: Listener, count: int
) -> None:
    ended = listen(listener, ENDED)
    with Session(engine) as session, session.begin():
        jobs.insert_many(session, [new_job() for _ in range(count)])
        taken = claim(session, FIRST, ["task"], limit=count)
        results.archive(session, FIRST, [succeeded(job) for job in taken])
    payloads = [ended.get(timeout=5) or "" for _ in range(-(-count // 50))]
    assert max(map(len, payloads)) < 2000
    assert set().union(*map(read_rids, payloads)) == {job.rid for job in taken}


def test_nobody_is_told_when_nobody_listens(engine: Engine, listener: Listener, added: Heard) -> None:
    """A listener that came a moment too late is not told either, and looks at everything once instead."""
    with Session(engine) as session, session.begin():
        jobs.insert_many(session, [new_job() for _ in range(2)])
        claim(session, FIRST, ["task"], limit=1)
    updated = listen(listener, UPDATED)
    assert nothing_more(updated, engine, UPDATED)
    with Session(engine) as session, session.begin():
        (taken,) = claim(session, FIRST, ["task"], limit=1)
    assert updated.get(timeout=5) == str(taken.rid)


@contextmanager
def ear(engine: Engine, channel: Channel) -> Iterator["psycopg.Connection[Any]"]:
    """Who listens says so by a lock. This one says nothing at first."""
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"LISTEN {channel.name}")
        yield connection


def first_told(ear: "psycopg.Connection[Any]") -> list[str]:
    return [notified.payload for notified in ear.notifies(timeout=5, stop_after=1)]


def test_nobody_is_told_of_added_jobs_when_nobody_listens(engine: Engine, q: Queuer) -> None:
    with ear(engine, ADDED) as connection:
        for _ in range(3):  # the last of them are prepared
            q.add_job("task")
        q.add_jobs([BatchJob("task")])
        asyncio.run(q.add_job_async("task"))
        connection.execute("SELECT pg_advisory_lock_shared(%s)", [ADDED.key])
        job = q.add_job("task")
        assert first_told(connection) == [f"{job.id}:{job.rid}"]


def claim_any(session: Session, _rid: UUID) -> None:
    claim(session, FIRST, ["task"], limit=1)


def claim_named(session: Session, rid: UUID) -> None:
    take_named(session, FIRST, [rid], ["task"])


@pytest.mark.parametrize("take", [claim_any, claim_named])
def test_nobody_is_told_of_claimed_jobs_when_nobody_listens(
    engine: Engine, take: Callable[[Session, UUID], None]
) -> None:
    with ear(engine, UPDATED) as connection, Session(engine) as session:
        first, second = jobs.insert_many(session, [new_job() for _ in range(2)])
        take(session, first)
        session.commit()
        connection.execute("SELECT pg_advisory_lock_shared(%s)", [UPDATED.key])
        take(session, second)
        session.commit()
        assert first_told(connection) == [str(second)]


@pytest.mark.owner
def test_who_adds_in_a_transaction_keeps_nobody_from_listening(engine: Engine, listener: Listener) -> None:
    """Nor is the job lost on who begins to listen meanwhile."""
    with Session(engine) as session, session.begin():
        job = jobs.insert_one(session, new_job())
        heard = listen(listener, ADDED)
    assert read_added(heard.get(timeout=5) or "").rids == {job.rid}


@pytest.mark.owner
def test_a_renamed_schema_is_heard_under_its_new_name(
    engine: Engine, listener: Listener, config: DatabaseConfiguration
) -> None:
    new_queuer_with_db("test", 1, "", replace(config, schema="before")).stop()
    with alone(engine) as connection:
        connection.execute(text("ALTER SCHEMA before RENAME TO afterwards"))
        channel = events.added("afterwards")
        heard = listen(listener, channel)
        connection.execute(text("INSERT INTO afterwards.job (task_name) VALUES ('task')"))
    assert read_added(heard.get(timeout=5) or "").ids == range(1, 2)
    assert nothing_more(heard, engine, channel)


@pytest.mark.owner
def test_other_schemas_are_not_heard(engine: Engine, added: Heard, config: DatabaseConfiguration) -> None:
    elsewhere = new_queuer_with_db("test", 1, "", replace(config, schema="elsewhere"))
    elsewhere.add_job("task")
    elsewhere.stop()
    assert nothing_more(added, engine, ADDED)
