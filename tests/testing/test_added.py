"""`queuer_jobs`: what the test's code added."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from support.applications import async_engine_of

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    InvalidParameters,
    Options,
    Queuer,
    TaskNotRegistered,
    new_static_queuer,
)
from queuer.testing import AddedJobs

pytestmark = pytest.mark.owner  # it makes tables next to the queue's


@dataclass
class Cup:
    size: int
    lid: bool = False


def brew(item: str, cups: int = 1, at: datetime | None = None, cup: Cup | None = None) -> None: ...


@pytest.fixture(autouse=True)
def _tasks(q: Queuer) -> None:
    q.add_task(brew)


def calls(jobs: AddedJobs) -> list[str]:
    return [repr(job) for job in jobs.added]


def test_every_door_is_watched(
    q: Queuer, rolled_back: Session, config: DatabaseConfiguration, queuer_jobs: AddedJobs
) -> None:
    options = Options(metadata={"request": 7})
    q.add_job(brew, "a")
    q.add_job_with_options(options, brew, "b")
    q.add_jobs([BatchJob(brew, ["c"]), BatchJob("other", [], {"key": 1})])
    q.in_session(rolled_back).add_job(brew, "d")
    q.in_session(rolled_back).add_job_with_options(None, "other")
    q.in_session(rolled_back).add_jobs([BatchJob(brew, ["e"])])
    static = new_static_queuer(config)
    static.add_job("other", 1)
    static.stop()

    async def main() -> None:
        await q.add_job_async(brew, "f")
        await q.add_job_with_options_async(options, brew, "g")
        await q.add_jobs_async([BatchJob(brew, ["h"])])
        async with async_engine_of(config, "asyncpg") as engine, AsyncSession(engine) as session:
            await q.in_session(session).add_job(brew, "i")
            await q.in_session(session).add_jobs([BatchJob(brew, ["j"])])
            await session.commit()

    asyncio.run(main())
    expected = ["brew('a')", f"brew('b') with {options!r}", "brew('c')", "other(key=1)", "brew('d')", "other()"]
    expected += ["brew('e')", "other(1)", "brew('f')", f"brew('g') with {options!r}", "brew('h')", "brew('i')"]
    assert calls(queuer_jobs) == [*expected, "brew('j')"]
    assert all(isinstance(job.rid, UUID) for job in queuer_jobs.added)


def test_a_job_that_is_added_again_is_one_more(q: Queuer, queuer_jobs: AddedJobs) -> None:
    job = q.add_job("other", 1)
    q.cancel_job(job.rid)
    again = q.readd_job_from_archive(job.rid)
    assert [added.rid for added in queuer_jobs.added] == [job.rid, again.rid]


def test_arguments_may_be_passed_by_position_or_by_name(q: Queuer, queuer_jobs: AddedJobs) -> None:
    q.add_job(brew, "tea", cups=2)
    queuer_jobs.assert_added(brew)
    queuer_jobs.assert_added("brew", "tea", 2)
    queuer_jobs.assert_added(brew, item="tea", cups=2)
    queuer_jobs.assert_not_added(brew, "tea")
    queuer_jobs.assert_not_added("other")
    assert queuer_jobs.count(brew) == queuer_jobs.count(brew, "tea", cups=2) == 1
    assert queuer_jobs.count(brew, "milk") == queuer_jobs.count(brew, "tea", 2, 3, 4, 5, 6) == 0


def test_values_are_compared_as_the_task_will_get_them(q: Queuer, queuer_jobs: AddedJobs) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC)
    q.add_job(brew, "tea", at=at, cup=Cup(3))
    q.add_job("other", [(1, 2)])
    queuer_jobs.assert_added(brew, "tea", at=at, cup=Cup(3))
    queuer_jobs.assert_added(brew, ANY, at=ANY, cup={"size": ANY, "lid": False})
    queuer_jobs.assert_not_added(brew, "tea", at=at, cup=Cup(4))
    queuer_jobs.assert_added("other", ((1, ANY),))


def test_the_job_that_was_found_can_be_looked_at(q: Queuer, queuer_jobs: AddedJobs) -> None:
    options = Options(metadata={"request": 7})
    q.add_job(brew, "tea")
    job = q.add_job_with_options(options, brew, "tea")
    found = queuer_jobs.assert_added(brew, "tea")
    assert (found.rid, found.options, found.parameters, found.parent_rid) == (job.rid, options, ["tea"], None)
    assert queuer_jobs.assert_added_with_options(options, brew) is found
    assert queuer_jobs.find(brew)[-1] is found


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda jobs: jobs.assert_added(brew, "milk", cups=2), "brew('milk', cups=2) was not added; these jobs were:"),
        (lambda jobs: jobs.assert_added("other"), "a job of other was not added; these jobs were:"),
        (lambda jobs: jobs.assert_not_added(brew, "tea"), "brew('tea') was added; these jobs were:"),
        (
            lambda jobs: jobs.assert_added_once(brew),
            "a job of brew was added 2 times, wanted is once; these jobs were:",
        ),
        (lambda jobs: jobs.assert_added_once("x"), "a job of x was added not at all, wanted is once; these jobs were:"),
        (
            lambda jobs: jobs.assert_added_with_options(Options(metadata={}), brew, "tea"),
            f"brew('tea') with {Options(metadata={})!r} was not added; these jobs were:",
        ),
    ],
)
def test_what_is_said(
    q: Queuer, rolled_back: Session, queuer_jobs: AddedJobs, check: Callable[[AddedJobs], Any], said: str
) -> None:
    q.add_job(brew, "tea")
    q.add_job(brew, "water", cups=2)
    q.in_session(rolled_back).add_job("other", "lost")
    rolled_back.rollback()
    with pytest.raises(AssertionError) as error:
        check(queuer_jobs)
    assert str(error.value) == f"{said}\n  brew('tea')\n  brew('water', cups=2)\n  other('lost') (rolled back)"


def test_what_is_said_when_there_is_nothing(queuer_jobs: AddedJobs) -> None:
    with pytest.raises(AssertionError, match=r"^a job of brew was not added; no job was$"):
        queuer_jobs.assert_added(brew)


def test_a_callable_that_is_no_task_is_a_mistake_of_the_test(queuer_jobs: AddedJobs) -> None:
    with pytest.raises(TaskNotRegistered, match="no queuer of this process has"):
        queuer_jobs.assert_not_added(calls)
    with pytest.raises(TypeError, match="allowed is a registered callable or a name"):
        queuer_jobs.assert_not_added(3)  # type: ignore[arg-type]


def test_what_was_refused_was_not_added(q: Queuer, rolled_back: Session, queuer_jobs: AddedJobs) -> None:
    for adds in (q.add_jobs, q.in_session(rolled_back).add_jobs):
        with pytest.raises(InvalidParameters):
            adds([BatchJob(brew, ["tea"]), BatchJob(brew, [b"no JSON"])])
    assert queuer_jobs.added == queuer_jobs.rolled_back == []


def test_it_can_be_cleared_and_ends(q: Queuer, queuer_jobs: AddedJobs) -> None:
    with AddedJobs() as inner:
        q.add_job(brew, "tea")
        q.add_job(brew, "milk")
        inner.clear()
        q.add_job(brew, "water")
    q.add_job(brew, "oil")
    assert calls(inner) == ["brew('water')"]
    assert queuer_jobs.count(brew) == 4


# -- What is rolled back


def test_a_rolled_back_savepoint_takes_its_jobs_along(q: Queuer, rolled_back: Session, queuer_jobs: AddedJobs) -> None:
    jobs = q.in_session(rolled_back)
    jobs.add_job(brew, "kept")
    with rolled_back.begin_nested():
        jobs.add_job(brew, "kept, too")
        with rolled_back.begin_nested() as inner:
            jobs.add_jobs([BatchJob(brew, ["lost"])])
            inner.rollback()
        jobs.add_job(brew, "after")
    assert calls(queuer_jobs) == ["brew('kept')", "brew('kept, too')", "brew('after')"]
    rolled_back.commit()
    with rolled_back.begin_nested() as savepoint:
        with rolled_back.begin_nested():
            jobs.add_job(brew, "of a savepoint in one that is undone")
        savepoint.rollback()
    rolled_back.rollback()
    assert calls(queuer_jobs) == ["brew('kept')", "brew('kept, too')", "brew('after')"]
    assert len(queuer_jobs.rolled_back) == 2


@pytest.mark.parametrize("mode", ["create_savepoint", "rollback_only"])
def test_a_rolled_back_session_takes_its_jobs_along(
    q: Queuer, connection: Connection, queuer_jobs: AddedJobs, mode: Any
) -> None:
    with Session(connection, join_transaction_mode=mode) as session:
        q.in_session(session).add_job(brew, "committed")
        session.commit()
        q.in_session(session).add_job(brew, "lost")
        session.rollback()
    assert calls(queuer_jobs) == ["brew('committed')"]
    assert [repr(job) for job in queuer_jobs.rolled_back] == ["brew('lost')"]


def test_what_is_committed_stays(q: Queuer, application: Engine, queuer_jobs: AddedJobs) -> None:
    with application.connect() as connection:
        q.in_session(connection).add_job(brew, "kept")
        connection.commit()
        q.in_session(connection).add_job(brew, "lost")
        connection.rollback()
        q.in_session(connection).add_job(brew, "lost, too")
    with Session(application) as session:
        q.in_session(session).add_job(brew, "never committed")
    assert calls(queuer_jobs) == ["brew('kept')"]
    assert len(queuer_jobs.rolled_back) == 3
