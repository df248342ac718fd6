"""Tasks that take a `session`: what they write and the end of their job are one transaction."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from support.applications import Base, Order, engine_of
from support.contract import ended, eventually

from queuer import (
    DatabaseConfiguration,
    Job,
    JobStatus,
    OnError,
    Options,
    Queuer,
    Schedule,
    current_job,
    new_queuer_with_engine,
)
from queuer.worker.transactions import MOST_FRUITLESS

pytestmark = pytest.mark.owner  # it makes tables next to the queue's


@pytest.fixture
def orders(config: DatabaseConfiguration) -> Iterator[Engine]:
    engine = engine_of(config)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def items(orders: Engine) -> list[str]:
    with Session(orders) as session:
        return list(session.scalars(select(Order.item).order_by(Order.id)))


def buy(session: Session, item: str) -> str:
    session.add(Order(item=item))
    return f"bought {item}"


async def buy_async(session: AsyncSession, item: str) -> str:
    session.add(Order(item=item))
    return f"bought {item}"


@pytest.fixture(params=[buy, buy_async], ids=["sync", "async"])
def task(request: pytest.FixtureRequest) -> Callable[..., Any]:
    task: Callable[..., Any] = request.param
    return task


def test_what_the_task_writes_is_there_with_the_outcome(q: Queuer, orders: Engine, task: Callable[..., Any]) -> None:
    q.add_task_with_name(task, "buy")
    q.start()
    assert ended(q, q.add_job("buy", "tea")).result == "bought tea"
    assert ended(q, q.add_job("buy", item="milk")).result == "bought milk"
    assert items(orders) == ["tea", "milk"]


def _fails(session: Session) -> None:
    session.add(Order(item="tea"))
    session.flush()
    raise RuntimeError("after all")


async def _fails_async(session: AsyncSession) -> None:
    session.add(Order(item="tea"))
    await session.flush()
    raise RuntimeError("after all")


@pytest.mark.parametrize("fails", [_fails, _fails_async])
def test_a_task_that_fails_has_written_nothing(q: Queuer, orders: Engine, fails: Callable[..., Any]) -> None:
    q.add_task_with_name(fails, "buy")
    q.start()
    job = q.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=0)), "buy")
    failed = ended(q, job)
    assert (failed.status, failed.error, len(failed.failures)) == (JobStatus.FAILED, "RuntimeError: after all", 2)
    assert items(orders) == []


def test_what_the_database_refuses_at_the_commit_fails_the_job(q: Queuer, orders: Engine) -> None:
    with orders.begin() as connection:
        connection.execute(text("ALTER TABLE orders ADD UNIQUE (item) DEFERRABLE INITIALLY DEFERRED"))
    q.add_task(buy)
    q.start()
    assert ended(q, q.add_job(buy, "tea")).status == JobStatus.SUCCEEDED
    failed = ended(q, q.add_job(buy, "tea"))
    assert (failed.status, (failed.error or "").partition(":")[0]) == (JobStatus.FAILED, IntegrityError.__name__)
    assert items(orders) == ["tea"]


def test_a_task_that_commits_by_itself_still_commits_with_its_job(q: Queuer, orders: Engine) -> None:
    seen: list[list[str]] = []

    def commits(session: Session) -> None:
        session.add(Order(item="tea"))
        session.commit()
        seen.append(items(orders))
        session.add(Order(item="lost"))
        session.rollback()
        session.add(Order(item="milk"))
        if current_attempt() == 1:
            raise RuntimeError("again")

    attempts = iter([1, 2])

    def current_attempt() -> int:
        return next(attempts)

    q.add_task(commits)
    q.start()
    job = q.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=0)), commits)
    assert ended(q, job).status == JobStatus.SUCCEEDED
    assert seen == [[], []]
    assert items(orders) == ["tea", "milk"]


def test_a_worker_that_lost_its_job_can_not_commit(q: Queuer, orders: Engine) -> None:
    entered, may_go_on = threading.Semaphore(0), threading.Event()

    def slow(session: Session) -> None:
        session.add(Order(item="tea"))
        session.flush()
        entered.release()
        assert may_go_on.wait(10)

    q.add_task(slow)
    q.start()
    job = q.add_job(slow)
    assert entered.acquire(timeout=10)
    with orders.begin() as connection:  # as a rescue, and another worker's claim, would
        connection.execute(update(Job).values(attempts=Job.attempts + 1))
    may_go_on.set()
    eventually(lambda: q.get_connections() and not _in_transaction(orders))
    assert items(orders) == []
    assert q.get_job(job.rid).status == JobStatus.RUNNING


def _in_transaction(orders: Engine) -> bool:
    with orders.connect() as connection:
        mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
        return bool(connection.scalar(text(mine)))


def test_what_is_cancelled_as_it_ends_has_written_nothing(q: Queuer, orders: Engine) -> None:
    entered, may_go_on = threading.Semaphore(0), threading.Event()

    def slow(session: Session) -> None:
        session.add(Order(item="tea"))
        session.flush()
        entered.release()
        while not may_go_on.is_set():
            may_go_on.wait(0.005)

    q.add_task(slow)
    q.start()
    job = q.add_job(slow)
    assert entered.acquire(timeout=10)
    with orders.begin() as connection:  # unlike cancel_job, it does not interrupt: the task ends as if nothing were
        connection.execute(update(Job).values(cancel_requested_at=func.now()))
    may_go_on.set()
    assert ended(q, job).status == JobStatus.CANCELLED
    assert items(orders) == []


@pytest.mark.parametrize("how", ["thread", "loop", "thread on an application's engine"])
def test_a_timeout_ends_a_statement_and_writes_nothing(
    make_queuer: Callable[..., Queuer], orders: Engine, how: str
) -> None:
    def sleeps(session: Session) -> None:
        session.execute(insert(Order).values(item="tea"))
        session.execute(text("SELECT pg_sleep(3600)"))

    async def sleeps_async(session: AsyncSession) -> None:
        await session.execute(insert(Order).values(item="tea"))
        await session.execute(text("SELECT pg_sleep(3600)"))

    q = new_queuer_with_engine("test", 4, orders) if "engine" in how else make_queuer()
    q.add_task_with_name(sleeps_async if how == "loop" else sleeps, "sleeps")
    q.add_task(buy)
    with q:
        failed = ended(q, q.add_job_with_options(Options(on_error=OnError(timeout=0.2, max_retries=0)), "sleeps"))
        assert (failed.status, (failed.error or "").partition(":")[0]) == (JobStatus.FAILED, "JobTimeout")
        assert not _sleeping(orders)
        ended(q, q.add_job(buy, "milk"))
    assert items(orders) == ["milk"]


def _sleeping(orders: Engine) -> bool:
    """Whether a server process still sleeps for the task."""
    with orders.connect() as connection:
        mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        return bool(connection.scalar(text(mine)))


@pytest.mark.parametrize("when", ["at the commit", "before"])
def test_a_connection_that_breaks_is_no_failure(q: Queuer, orders: Engine, when: str) -> None:
    attempts: list[int] = []

    def cut_off(session: Session) -> None:
        session.add(Order(item="tea"))
        session.flush()
        attempts.append(current_job().attempt)
        if len(attempts) == 1:
            pid = session.scalar(select(func.pg_backend_pid()))
            with orders.connect() as connection:
                connection.execute(select(func.pg_terminate_backend(pid, 5000)))  # milliseconds: it waits for the end
        if when == "before":
            session.execute(select(1))

    q.add_task(cut_off)
    q.start()
    done = ended(q, q.add_job(cut_off))
    assert (done.status, done.failures, attempts) == (JobStatus.SUCCEEDED, [], [1, 2])
    assert items(orders) == ["tea"]


def test_a_task_that_breaks_its_connection_again_and_again_fails(q: Queuer, orders: Engine) -> None:
    def breaks(session: Session) -> None:
        pid = session.scalar(select(func.pg_backend_pid()))
        with orders.connect() as connection:
            connection.execute(select(func.pg_terminate_backend(pid, 5000)))
        session.execute(select(1))

    q.add_task(breaks)
    job = q.add_job(breaks)
    with orders.begin() as connection:
        connection.execute(update(Job).values(attempts=MOST_FRUITLESS))
    q.start()
    failed = ended(q, job)
    assert (failed.status, len(failed.failures)) == (JobStatus.FAILED, 1)


def test_jobs_that_it_adds_in_its_session_are_there_only_if_it_succeeds(q: Queuer, orders: Engine) -> None:
    def adds(session: Session, fails: bool) -> None:
        q.in_session(session).add_job("later")
        if fails:
            raise RuntimeError("after all")

    q.add_task(adds)
    q.start()
    ended(q, q.add_job("adds", fails=True))
    assert q.get_jobs() == []
    parent = ended(q, q.add_job("adds", fails=False))
    [child] = q.get_jobs()
    assert (child.task_name, child.parent_rid) == ("later", parent.rid)


def test_a_series_goes_on_in_the_same_transaction(q: Queuer, orders: Engine) -> None:
    q.add_task(buy)
    schedule = Schedule(max_count=3, interval=timedelta(milliseconds=20))
    q.start()
    first = q.add_job_with_options(Options(schedule=schedule), buy, "tea")
    runs = eventually(lambda: [run for run in q.get_jobs_ended() if run.status == JobStatus.SUCCEEDED][2:] and [1])
    assert runs
    assert items(orders) == ["tea"] * 3
    assert {run.series_rid or run.rid for run in q.get_jobs_ended()} == {first.rid}


def test_a_result_json_can_not_hold_writes_nothing(q: Queuer, orders: Engine) -> None:
    def odd(session: Session) -> object:
        session.add(Order(item="tea"))
        return object()

    q.add_task(odd)
    q.start()
    assert ended(q, q.add_job(odd)).status == JobStatus.FAILED
    assert items(orders) == []


def test_many_at_once(make_queuer: Callable[..., Queuer], orders: Engine, task: Callable[..., Any]) -> None:
    q = make_queuer(max_concurrency=8)
    q.add_task_with_name(task, "buy")
    q.start()
    jobs = [q.add_job("buy", str(number)) for number in range(60)]
    assert {ended(q, job).status for job in jobs} == {JobStatus.SUCCEEDED}
    assert sorted(items(orders)) == sorted(str(number) for number in range(60))
