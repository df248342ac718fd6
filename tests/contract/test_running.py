"""The contract's "Running" and "Schedules", as far as they are built, on the public API alone."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from queuer import BatchJob, Job, JobArchive, JobStatus, OnError, Options, Queuer, Schedule


def ended(q: Queuer, job: Job) -> JobArchive:
    found = q.wait_for_job_finished(job.rid, timeout_seconds=10)
    assert found is not None
    return found


def test_jobs_start_in_the_order_of_insertion(make_queuer: Any) -> None:
    q, order = make_queuer(max_concurrency=1), []
    q.add_task_with_name(order.append, "note")
    rids = q.add_jobs(BatchJob("note", [n]) for n in range(30))
    with q:
        q.wait_for_job_finished(rids[-1])
    assert order == list(range(30))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_no_more_than_max_concurrency_run_at_once(make_queuer: Any, kind: str) -> None:
    q, running, most, lock = make_queuer(max_concurrency=3), [0], [0], threading.Lock()

    def count(by: int) -> None:
        with lock:
            running[0] += by
            most[0] = max(most[0], running[0])

    all_three = threading.Barrier(3)

    def sync() -> None:
        count(1)
        all_three.wait(5)  # so that three do run at once
        count(-1)

    async def coroutine() -> None:
        count(1)
        for _ in range(20):
            await asyncio.sleep(0)
        count(-1)

    q.add_task_with_name(sync if kind == "sync" else coroutine, "task")
    rids = q.add_jobs(BatchJob("task") for _ in range(12))
    with q:
        for rid in rids:
            job = q.wait_for_job_finished(rid)
            assert job is not None
            assert job.error is None
    assert most == [3]


def test_a_worker_takes_only_jobs_whose_task_it_has(make_queuer: Any) -> None:
    one, two = make_queuer(), make_queuer()
    one.add_task_with_name(lambda: "one", "first")
    two.add_task_with_name(lambda: "two", "second")
    with one, two:
        jobs = [one.add_job(name) for name in ("second", "first", "second")]
        assert [ended(one, job).result for job in jobs] == ["two", "one", "two"]


def test_a_retry_is_a_scheduled_row_that_any_worker_may_take(make_queuer: Any) -> None:
    first, second = make_queuer(), make_queuer()
    failed = threading.Event()

    def breaks() -> None:
        failed.set()
        raise ValueError("no")

    first.add_task_with_name(breaks, "task")
    second.add_task_with_name(lambda: "done", "task")
    options = Options(on_error=OnError(max_retries=1, retry_delay=0.2, retry_backoff="linear"))
    job = first.add_job_with_options(options, "task")
    first.start()
    failed.wait(5)
    first.stop()
    waiting = second.get_job(job.rid)
    assert (waiting.status, waiting.attempts, waiting.worker_rid) == (JobStatus.SCHEDULED, 1, None)
    with second:
        done = ended(second, job)
    assert (done.status, done.result, done.attempts) == (JobStatus.SUCCEEDED, "done", 2)
    (failure,) = done.failures
    assert (failure["attempt"], failure["type"], failure["message"]) == (1, "ValueError", "no")
    assert "in breaks" in failure["traceback"]
    assert done.started_at is not None
    assert done.started_at >= datetime.fromisoformat(failure["ended_at"]) + timedelta(seconds=0.2)


@pytest.mark.parametrize(
    ("of_worker", "of_job", "attempts"),
    [(None, None, 1), (2, None, 3), (2, 1, 2), (0, 1, 2), (2, 0, 1)],
)
def test_the_jobs_own_on_error_wins_over_the_workers(
    make_queuer: Any, of_worker: int | None, of_job: int | None, attempts: int
) -> None:
    def on_error(retries: int | None) -> list[OnError]:
        return [] if retries is None else [OnError(max_retries=retries, retry_delay=0)]

    def breaks() -> None:
        raise ValueError("no")

    q = make_queuer(*on_error(of_worker))
    q.add_task(breaks)
    options = Options(on_error=next(iter(on_error(of_job)), None))
    with q:
        job = ended(q, q.add_job_with_options(options, breaks))
    assert (job.status, job.error, job.attempts) == (JobStatus.FAILED, "ValueError: no", attempts)
    assert [failure["attempt"] for failure in job.failures] == list(range(1, attempts + 1))


def test_system_exit_fails_that_job_alone(q: Queuer) -> None:
    @q.task
    def leave() -> None:
        raise SystemExit(3)

    q.add_task_with_name(lambda: "alive", "next")
    with q:
        job = ended(q, q.add_job(leave))
        assert (job.status, job.error) == (JobStatus.FAILED, "SystemExit: 3")
        assert ended(q, q.add_job("next")).result == "alive"


def test_a_timeout_ends_the_attempt_as_a_failure(make_queuer: Any) -> None:
    q = make_queuer(OnError(timeout=0.1, max_retries=1, retry_delay=0))

    @q.task
    def endless() -> None:
        while True:
            pass

    with q:
        job = ended(q, q.add_job(endless))
    assert (job.status, job.error, job.attempts) == (
        JobStatus.FAILED,
        "JobTimeout: the attempt took longer than 0.1 s",
        2,
    )


def test_times_are_the_databases(q: Queuer) -> None:
    q.add_task_with_name(lambda: None, "task")
    with q:
        job = ended(q, q.add_job("task"))
    assert job.started_at is not None
    assert job.created_at <= job.started_at <= job.ended_at


def test_a_scheduled_job_starts_at_its_time_and_not_before(q: Queuer) -> None:
    q.add_task_with_name(lambda: None, "task")
    start = datetime.now(UTC) + timedelta(seconds=0.3)
    with q:
        job = q.add_job_with_options(Options(schedule=Schedule(start=start)), "task")
        assert (job.status, job.scheduled_at) == (JobStatus.SCHEDULED, start)
        done = ended(q, job)
    assert done.started_at is not None
    assert timedelta(0) <= done.started_at - start < timedelta(seconds=1)


def test_a_recurring_job_runs_on_its_grid_as_often_as_it_may(q: Queuer, engine: Engine) -> None:
    third = threading.Event()
    runs: list[int] = []

    @q.task
    def tick() -> None:
        runs.append(1)
        if len(runs) == 2:
            raise ValueError("a failed run does not end the series")
        if len(runs) == 3:
            third.set()

    start = datetime.now(UTC)
    interval = timedelta(seconds=0.2)
    with q:
        job = q.add_job_with_options(Options(schedule=Schedule(start=start, max_count=3, interval=interval)), tick)
        assert third.wait(10)
    with Session(engine) as session:
        done = session.scalars(select(JobArchive).order_by(JobArchive.id)).all()
        assert session.scalars(select(Job)).all() == []
    assert [run.schedule_count for run in done] == [1, 2, 3]
    assert [run.status for run in done] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert {run.series_rid for run in done} == {job.rid}
    assert len({run.rid for run in done}) == 3
    for run in done[1:]:
        assert run.occurrence_at is not None
        assert (run.occurrence_at - start) % interval == timedelta(0)


def test_missed_occurrences_are_coalesced_into_one_run(q: Queuer, engine: Engine) -> None:
    ran = threading.Event()
    q.add_task_with_name(ran.set, "tick")
    an_hour = timedelta(hours=1)
    start = datetime.now(UTC) - 10.5 * an_hour
    q.add_job_with_options(Options(schedule=Schedule(start=start, max_count=2, interval=an_hour)), "tick")
    with q:
        assert ran.wait(5)
    with Session(engine) as session:
        (waiting,) = session.scalars(select(Job)).all()
        assert (waiting.status, waiting.schedule_count) == (JobStatus.SCHEDULED, 2)
        assert waiting.scheduled_at == waiting.occurrence_at == start + 11 * an_hour


@pytest.mark.parametrize(
    ("columns", "values", "says"),
    [
        ("parameters", "'{}'", "InvalidParameters: parameters is an object; allowed is an array"),
        ("parameters_keyed", "'5'", "InvalidParameters: parameters_keyed is a number; allowed is an object"),
        ("options", "'[1]'", "ValueError: options is"),
        ("options", """'{"schedule": {"max_count": 0}}'""", "ValueError: interval and next_interval are None"),
    ],
)
def test_a_row_of_another_program_that_makes_no_sense_fails_with_the_reason(
    q: Queuer, engine: Engine, columns: str, values: str, says: str
) -> None:
    q.add_task_with_name(lambda: "fine", "task")
    with engine.begin() as connection:
        insert = f"INSERT INTO job (task_name, {columns}) VALUES ('task', {values}) RETURNING rid"
        rid = connection.exec_driver_sql(insert).scalar_one()
    with q:
        job = q.wait_for_job_finished(rid, timeout_seconds=5)
        assert job is not None
        assert job.status is JobStatus.FAILED
        assert job.error is not None
        assert job.error.startswith(says)
        assert ended(q, q.add_job("task")).result == "fine"
