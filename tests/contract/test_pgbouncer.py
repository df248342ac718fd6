"""The whole library through a PgBouncer that pools by transaction, where nobody can listen."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from support.contract import Gate, ended, eventually
from support.pgbouncer import check_nothing_is_left, pgbouncer
from support.servers import connected

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    JobStatus,
    OnError,
    Options,
    Queuer,
    StaticQueuer,
    new_queuer_with_engine,
    new_static_queuer,
)

PROCESSES = 4
LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"

MakeQueuer = Callable[..., Queuer]


@pytest.fixture
def pooled(config: DatabaseConfiguration) -> Iterator[DatabaseConfiguration]:
    with pgbouncer(config, size=PROCESSES) as pooled:
        yield pooled


@pytest.fixture
def q(make_queuer: MakeQueuer, pooled: DatabaseConfiguration) -> Iterator[Queuer]:
    q = make_queuer(on=pooled)
    yield q
    q.stop(timeout=0)


@contextmanager
def static_queuer(config: DatabaseConfiguration) -> Iterator[StaticQueuer]:
    """Of another process, as it were."""
    q = new_static_queuer(config)
    yield q
    q.stop()


def double(number: int) -> int:
    return 2 * number


def test_jobs_are_run_and_waited_for(
    q: Queuer, pooled: DatabaseConfiguration, caplog: pytest.LogCaptureFixture
) -> None:
    q.add_task(double)
    with q, static_queuer(pooled) as other:
        assert ended(q, other.add_job(double.__name__, 1)).result == 2
        rids = q.add_jobs(BatchJob(double, [number]) for number in range(200))
        found = [q.wait_for_job_finished(rid) for rid in rids]
        assert [job and job.result for job in found] == [2 * number for number in range(200)]
    assert q.get_worker(q.get_current_worker_rid()).status == "STOPPED"
    check_nothing_is_left(pooled, PROCESSES)
    warnings = [record for record in caplog.records if "notifications can't be heard" in record.getMessage()]
    assert len(warnings) == 1
    assert "QUEUER_DB_LISTEN_URL" in warnings[0].getMessage()


def test_coroutines_wait_too(q: Queuer) -> None:
    q.add_task(double)

    async def use() -> Any:
        job = await q.add_job_async(double, 4)
        found = await q.wait_for_job_finished_async(job.rid)
        return found and found.result

    with q:
        assert asyncio.run(use()) == 8


def test_listeners_are_told_of_each_job_once(q: Queuer) -> None:
    gate = Gate()
    q.add_task_with_name(gate, "gate")
    added: SimpleQueue[Any] = SimpleQueue()
    updated: SimpleQueue[Any] = SimpleQueue()
    gone: SimpleQueue[Any] = SimpleQueue()
    q.listen_for_job_insert(added.put)
    q.listen_for_job_update(updated.put)
    q.listen_for_job_delete(gone.put)
    q.add_job("before")
    with q:
        jobs = [q.add_job("gate") for _ in range(3)]
        assert {added.get(timeout=10).rid for _ in jobs} == {job.rid for job in jobs}
        assert {updated.get(timeout=10).rid for _ in jobs} == {job.rid for job in jobs}
        gate.go_on.set()
        assert {gone.get(timeout=10).rid for _ in jobs} == {job.rid for job in jobs}
    assert added.empty()
    assert updated.empty()
    assert gone.empty()


def test_listeners_are_told_of_retries_and_of_jobs_that_are_over_at_once(q: Queuer) -> None:
    updated: SimpleQueue[Any] = SimpleQueue()
    q.listen_for_job_update(updated.put)
    q.add_task(double)
    with q:
        quick = q.add_job(double, 1)
        told = updated.get(timeout=10)
        assert told.rid == quick.rid
        assert told.status in {JobStatus.RUNNING, JobStatus.SUCCEEDED}  # as it was when somebody looked
        later = q.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=600)), double, None)
        told = updated.get(timeout=10)
        assert told.rid == later.rid
        if told.status is JobStatus.RUNNING:
            told = updated.get(timeout=10)
        assert (told.rid, told.status) == (later.rid, JobStatus.SCHEDULED)


def test_a_process_without_a_worker_is_told_too(q: Queuer, pooled: DatabaseConfiguration) -> None:
    heard: SimpleQueue[Any] = SimpleQueue()
    with static_queuer(pooled) as other:
        other.listen_for_job_insert(heard.put)
        job = q.add_job("anything")
        assert heard.get(timeout=10).rid == job.rid


def test_a_running_job_is_cancelled_and_a_worker_is_stopped(q: Queuer, pooled: DatabaseConfiguration) -> None:
    gate = Gate()
    q.add_task_with_name(gate, "gate")
    with q, static_queuer(pooled) as other:
        job = q.add_job("gate")
        gate.wait_entered()
        other.cancel_job(job.rid)
        assert ended(q, job, timeout=20).status == JobStatus.CANCELLED
        other.stop_worker(q.get_current_worker_rid())
        eventually(lambda: other.get_worker(q.get_current_worker_rid()).status == "STOPPED", timeout=20)


@pytest.mark.owner
def test_jobs_and_tasks_share_transactions_with_their_sessions(q: Queuer, pooled: DatabaseConfiguration) -> None:
    def write(session: Session, number: int) -> None:
        session.execute(text("INSERT INTO ledger VALUES (:number)"), {"number": number})

    async def write_async(session: AsyncSession, number: int) -> None:
        await session.execute(text("INSERT INTO ledger VALUES (:number)"), {"number": number})

    q.add_task(write)
    q.add_task(write_async)
    engine = create_engine(pooled.url, connect_args={"prepare_threshold": None})
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE ledger (number int)"))
    with q:
        with Session(engine) as session, session.begin():
            jobs = [q.in_session(session).add_job(task, number) for number, task in enumerate([write, write_async] * 5)]
        assert {ended(q, job).status for job in jobs} == {JobStatus.SUCCEEDED}
    with engine.connect() as connection:
        assert sorted(connection.scalars(text("SELECT number FROM ledger"))) == list(range(10))
    engine.dispose()
    check_nothing_is_left(pooled, PROCESSES)


@pytest.mark.parametrize("by_variable", [False, True])
def test_with_a_url_of_the_server_itself_notifications_are_heard(
    make_queuer: MakeQueuer,
    config: DatabaseConfiguration,
    pooled: DatabaseConfiguration,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    by_variable: bool,
) -> None:
    direct = config.url.set(drivername="postgresql").render_as_string(hide_password=False)
    engine = create_engine(pooled.url, connect_args={"prepare_threshold": None})
    if by_variable:
        monkeypatch.setenv("QUEUER_DB_LISTEN_URL", direct)
        q = new_queuer_with_engine("pooled", 2, engine)
    else:
        q = make_queuer(on=replace(pooled, listen_url=direct))
    q.add_task(double)
    with q, connected(config) as connection:
        assert connection.execute(LOCKS).fetchone() != (0,)  # of who listens
        assert ended(q, q.add_job(double, 3)).result == 6
    engine.dispose()
    assert "can't be heard" not in caplog.text
    check_nothing_is_left(pooled, PROCESSES)


def test_through_a_pooler_by_session_notifications_are_heard(
    make_queuer: MakeQueuer, config: DatabaseConfiguration, caplog: pytest.LogCaptureFixture
) -> None:
    with pgbouncer(config, "session", size=20) as pooled:
        q = make_queuer(on=pooled)
        q.add_task(double)
        with q:
            assert ended(q, q.add_job(double, 3)).result == 6
        assert "can't be heard" not in caplog.text
