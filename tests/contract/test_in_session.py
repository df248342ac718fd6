"""The contract's `q.in_session(session)`: jobs in the caller's transaction."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from support.applications import ASYNC_DRIVERS, Order, async_engine_of, engine_of
from support.contract import ended

from queuer import BatchJob, DatabaseConfiguration, InvalidParameters, Job, Options, Queuer

pytestmark = pytest.mark.owner  # the application has tables of its own


def test_a_job_is_there_when_the_caller_commits_and_not_before(q: Queuer, application: Engine) -> None:
    with Session(application) as session:
        session.add(Order(item="tea"))
        job = q.in_session(session).add_job("brew", "tea", cups=2)
        assert q.get_jobs() == []
        session.commit()
    found = q.get_job(job.rid)
    assert (found.task_name, found.parameters, found.parameters_keyed) == ("brew", ["tea"], {"cups": 2})


def test_a_rollback_leaves_no_trace(q: Queuer, application: Engine) -> None:
    with Session(application) as session:
        q.in_session(session).add_job("brew")
        q.in_session(session).add_jobs([BatchJob("brew")] * 3)
        session.rollback()
        session.commit()
    assert q.get_jobs() == []


def test_workers_start_the_job_at_commit(q: Queuer, application: Engine) -> None:
    q.add_task_with_name(lambda: "brewed", "brew")
    q.start()
    with Session(application) as session:
        job = q.in_session(session).add_job("brew")
        marker = q.add_job("brew")  # it has run, so the other would have, had anybody seen it
        assert ended(q, marker).result == "brewed"
        session.commit()
    assert ended(q, job).result == "brewed"


def test_options_and_metadata_go_with_it(q: Queuer, application: Engine) -> None:
    options = Options(metadata={"request": 7})
    with Session(application) as session, session.begin():
        job = q.in_session(session).add_job_with_options(options, "brew")
    assert q.get_job(job.rid).options == options


def test_a_savepoint_is_respected(q: Queuer, application: Engine) -> None:
    with Session(application) as session, session.begin():
        kept = q.in_session(session).add_job("kept")
        savepoint = session.begin_nested()
        q.in_session(session).add_job("lost")
        q.in_session(session).add_jobs([BatchJob("lost")])
        savepoint.rollback()
        with session.begin_nested():
            also_kept = q.in_session(session).add_job("kept")
    assert [job.rid for job in q.get_jobs()] == [also_kept.rid, kept.rid]


def test_nothing_is_flushed_or_expired_or_left_behind(q: Queuer, application: Engine) -> None:
    with Session(application) as session:
        old = Order(item="old")
        session.add(old)
        session.commit()
        _ = old.item
        flushed: list[object] = []
        event.listen(session, "before_flush", lambda *args: flushed.append(args))
        new = Order(item="new")
        session.add(new)
        job = q.in_session(session).add_job("brew")
        q.in_session(session).add_jobs([BatchJob("brew")])
        assert flushed == []
        assert new in session.new
        assert "item" in old.__dict__
        assert job not in session
        job.task_name = "changed afterwards"
        session.commit()
    assert {job.task_name for job in q.get_jobs()} == {"brew"}


def test_a_batch_from_a_generator_is_added_in_its_order(q: Queuer, application: Engine) -> None:
    parameters = [-1]

    def batch() -> Iterator[BatchJob]:
        for parameters[0] in range(2500):  # always the same list
            yield BatchJob("brew", parameters)

    with Session(application) as session, session.begin():
        rids = q.in_session(session).add_jobs(batch())
    jobs: list[Job] = []
    while page := q.get_jobs(last_id=jobs[-1].id if jobs else 0, entries=1000):
        jobs += page
    assert [(job.rid, job.parameters) for job in reversed(jobs)] == [(rid, [n]) for n, rid in enumerate(rids)]


def test_a_batch_that_is_refused_leaves_the_transaction_as_it_was(q: Queuer, application: Engine) -> None:
    def batch() -> Iterator[BatchJob]:
        yield from [BatchJob("brew", [number]) for number in range(1500)]
        yield BatchJob("brew", [b"no JSON"])

    with Session(application) as session, session.begin():
        session.add(Order(item="tea"))
        session.flush()
        with pytest.raises(InvalidParameters, match=r"parameters\[0\]"):
            q.in_session(session).add_jobs(batch())
        kept = q.in_session(session).add_job("kept")
    assert [job.rid for job in q.get_jobs()] == [kept.rid]
    with Session(application) as session:
        assert session.scalars(select(Order.item)).all() == ["tea"]


def test_what_is_refused_before_it_is_sent_leaves_the_transaction_as_it_was(q: Queuer, application: Engine) -> None:
    with Session(application) as session:
        session.add(Order(item="tea"))
        with pytest.raises(InvalidParameters):
            q.in_session(session).add_job("brew", float("nan"))
        session.commit()
        assert session.scalars(select(Order.item)).all() == ["tea"]


def test_a_scoped_session_is_that_of_the_thread_that_adds(q: Queuer, application: Engine) -> None:
    scoped = scoped_session(sessionmaker(application))
    jobs = q.in_session(scoped)
    job = jobs.add_job("brew")
    scoped.rollback()
    job = jobs.add_job("brew")
    scoped.commit()
    scoped.remove()
    assert [found.rid for found in q.get_jobs()] == [job.rid]


@pytest.mark.parametrize("begins", [True, False])
def test_a_connection_does_as_well(q: Queuer, application: Engine, begins: bool) -> None:
    with application.connect() as connection:
        if begins:
            connection.begin()
        job = q.in_session(connection).add_job("brew")
        q.in_session(connection).add_jobs([BatchJob("brew")])
        assert q.get_jobs() == []
        connection.commit()
    assert [found.task_name for found in q.get_jobs()] == ["brew"] * 2
    assert q.get_job(job.rid).task_name == "brew"


def test_the_map_of_the_callers_schemas_is_not_for_our_tables(q: Queuer, application: Engine) -> None:
    elsewhere = application.execution_options(schema_translate_map={None: "elsewhere", "queue": "elsewhere"})
    with Session(elsewhere) as session, session.begin():
        job = q.in_session(session).add_job("brew")
        q.in_session(session).add_jobs([BatchJob("brew")])
        options = session.connection().get_execution_options()
        assert options["schema_translate_map"][None] == "elsewhere"
    assert q.get_job(job.rid).task_name == "brew"


def test_a_session_with_several_engines_uses_that_of_the_jobs(
    q: Queuer, application: Engine, empty_config: DatabaseConfiguration
) -> None:
    other = engine_of(empty_config)
    with Session(other, binds={Job: application}) as session, session.begin():
        q.in_session(session).add_job("brew")
    other.dispose()
    assert len(q.get_jobs()) == 1


def test_isolation_levels_are_the_callers(q: Queuer, application: Engine) -> None:
    with application.connect() as connection:
        strict = connection.execution_options(isolation_level="SERIALIZABLE")
        q.in_session(strict).add_job("brew")
        assert strict.get_isolation_level() == "SERIALIZABLE"
        strict.commit()
    assert len(q.get_jobs()) == 1


# -- Coroutines


async def _sessions(config: DatabaseConfiguration, driver: str, kind: Any) -> AsyncIterator[Any]:
    async with async_engine_of(config, driver) as engine:
        if kind is AsyncSession:
            async with AsyncSession(engine) as session:
                yield session
        else:
            async with engine.connect() as connection:
                yield connection


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
@pytest.mark.parametrize("kind", [AsyncSession, AsyncConnection], ids=["session", "connection"])
def test_coroutines_await_it(q: Queuer, config: DatabaseConfiguration, driver: str, kind: Any) -> None:
    async def main() -> None:
        async for session in _sessions(config, driver, kind):
            lost = await q.in_session(session).add_job("lost")
            await session.rollback()
            kept = await q.in_session(session).add_job("kept", 1)
            also_kept = await q.in_session(session).add_job_with_options(Options(metadata={"a": 1}), "kept")
            batch = await q.in_session(session).add_jobs(BatchJob("kept", [n]) for n in range(1200))
            with pytest.raises(InvalidParameters):
                await q.in_session(session).add_jobs([BatchJob("kept"), BatchJob("kept", [b""])])
            assert q.get_jobs() == []
            await session.commit()
            assert (await session.execute(select(Job.id).where(Job.rid == lost.rid))).all() == []
            found = (await session.execute(select(Job.rid).order_by(Job.id))).scalars().all()
            assert found == [kept.rid, also_kept.rid, *batch]

    asyncio.run(main())


@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
def test_the_sync_door_works_inside_run_sync(q: Queuer, config: DatabaseConfiguration, driver: str) -> None:
    async def main() -> None:
        async with async_engine_of(config, driver) as engine, AsyncSession(engine) as session:
            await session.run_sync(lambda inner: q.in_session(inner).add_job("brew"))
            await session.run_sync(lambda inner: q.in_session(inner).add_jobs([BatchJob("brew")]))
            await session.commit()

    asyncio.run(main())
    assert len(q.get_jobs()) == 2


def test_one_look_at_each_transaction_is_enough(q: Queuer, application: Engine) -> None:
    statements: list[str] = []
    event.listen(application, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with application.begin() as connection:
        for _ in range(3):
            q.in_session(connection).add_job("brew")
    assert ["INSERT" in statement for statement in statements] == [False, True, True, True]
