import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session
from support.contract import eventually
from support.jobs import FIRST, new_job, succeeded, to_retry

from queuer import BatchJob, DatabaseConfiguration, DatabaseUnavailable, Queuer, events, new_queuer_with_db
from queuer.database.listener import Listener
from queuer.database.liveness import SERVER_SIDE
from queuer.database.liveness import Connection as Attended
from queuer.database.sources import Source
from queuer.events import NOBODY_KNOWS, Channel, read_added, read_rids
from queuer.models import Job
from queuer.repositories import jobs, results
from queuer.repositories.claims import claim
from queuer.repositories.direct import Direct
from queuer.repositories.held import give_back

Heard = SimpleQueue[str | None]

ADDED, ENDED, UPDATED = (of("public") for of in (events.added, events.ended, events.updated))

OF_LISTENERS = """
FROM pg_stat_activity WHERE application_name = 'queuer listener' AND datname = current_database()
"""


@pytest.fixture
def listener(config: DatabaseConfiguration) -> Iterator[Listener]:
    listener = Listener(Source(config))
    yield listener
    listener.close()


@pytest.fixture
def added(listener: Listener) -> Heard:
    return listen(listener, ADDED)


def listen(listener: Listener, channel: Channel) -> Heard:
    heard: Heard = SimpleQueue()
    listener.listen(channel, heard.put)
    assert heard.get(timeout=5) is None  # look at everything once: something may have happened before
    return heard


def nothing_more(heard: Heard, engine: Engine, channel: Channel) -> bool:
    """Notifications come in the order of their commits, so one sent now comes after all others."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_notify(:channel, 'last')"), {"channel": channel.name})
    return heard.get(timeout=5) == "last"


def alone(engine: Engine) -> Connection:
    """Each statement in a transaction of its own: then it is looked whether anybody listens."""
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


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


def test_nobody_is_told_of_added_jobs_when_nobody_listens(engine: Engine, q: Queuer) -> None:
    """Who listens says so by a lock. This one says nothing at first."""
    with psycopg.connect(
        engine.url.render_as_string(hide_password=False).replace("+psycopg", ""), autocommit=True
    ) as ear:
        ear.execute(f"LISTEN {ADDED.name}")
        for _ in range(3):  # the last of them are prepared
            q.add_job("task")
        q.add_jobs([BatchJob("task")])
        asyncio.run(q.add_job_async("task"))
        ear.execute("SELECT pg_advisory_lock_shared(%s)", [ADDED.key])
        job = q.add_job("task")
        assert [notified.payload for notified in ear.notifies(timeout=5, stop_after=1)] == [f"{job.id}:{job.rid}"]


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


def test_a_cut_connection_is_replaced_and_everything_looked_at_again(engine: Engine, added: Heard) -> None:
    with engine.begin() as connection:
        cut = connection.execute(text(f"SELECT pg_terminate_backend(pid) {OF_LISTENERS}"))
        assert [row[0] for row in cut] == [True]
    assert added.get(timeout=5) is None
    assert nothing_more(added, engine, ADDED)


def test_one_connection_serves_all_channels_and_none_is_left(engine: Engine, listener: Listener) -> None:
    listen(listener, ADDED)
    listen(listener, ENDED)
    assert listeners(engine) == 1
    listener.close()
    listener.close()
    eventually(lambda: listeners(engine) == 0)  # the server may need a moment to see that it is alone
    listen(listener, ADDED)
    assert listeners(engine) == 1


def test_what_comes_while_the_listener_is_busy_is_heard_at_once(
    engine: Engine, listener: Listener, added: Heard
) -> None:
    with engine.connect() as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ENDED.key})
        listening = pool.submit(listener.listen, ENDED, lambda _payload: None)  # waits for the lock
        with Session(engine) as session, session.begin():
            job = jobs.insert_one(session, new_job())
        holder.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ENDED.key})
        listening.result(timeout=5)
    assert added.get(timeout=2) == f"{job.id}:{job.rid}"


def test_what_somebody_notifies_in_another_encoding_ends_nothing(config: DatabaseConfiguration, engine: Engine) -> None:
    listener = Listener(Source(replace(config, parameters={"client_encoding": "latin1"})))
    heard = listen(listener, ADDED)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_notify(:channel, 'é')"), {"channel": ADDED.name})
    payload = heard.get(timeout=5)
    assert payload is not None  # which would say that the connection was lost
    assert read_added(payload) == NOBODY_KNOWS
    assert nothing_more(heard, engine, ADDED)
    listener.close()


def test_what_is_no_longer_listened_to_is_not_heard(engine: Engine, listener: Listener, added: Heard) -> None:
    ended = listen(listener, ENDED)
    listener.unlisten(ADDED, added.put)
    listener.unlisten(ADDED, added.put)
    assert nothing_more(ended, engine, ENDED)
    with Session(engine) as session, session.begin():
        jobs.insert_one(session, new_job())
    assert nothing_more(ended, engine, ENDED)
    assert added.empty()


def listeners(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text(f"SELECT count(*) {OF_LISTENERS}")) or 0


def test_a_connection_that_can_not_be_made_ready_is_closed(
    config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the server shuts down that moment."""
    opened: list[Attended] = []

    def connect(**options: Any) -> Attended:
        opened.append(Attended.connect(**options))
        return opened[-1]

    monkeypatch.setattr("queuer.database.sources.Connection", SimpleNamespace(connect=connect))
    monkeypatch.setitem(SERVER_SIDE, "work_mem", "nonsense")
    with pytest.raises(psycopg.Error, match="work_mem"):
        Source(config).connect()
    assert [connection.closed for connection in opened] == [True]


def test_an_unreachable_server_is_said() -> None:
    listener = Listener(Source(DatabaseConfiguration(host="127.0.0.1", port=1)))
    with pytest.raises(DatabaseUnavailable, match="can't listen on host 127.0.0.1, port 1"):
        listener.listen(ADDED, print, timeout=0.05)
    listener.close()
