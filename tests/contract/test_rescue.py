"""The contract's rescue: what becomes of the jobs of workers that are dead, or are taken for it."""

import logging
import threading
from datetime import timedelta
from queue import Queue
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from support.contract import Gate, ended, eventually

from queuer import (
    JobStatus,
    MasterSettings,
    OnError,
    Options,
    Queuer,
    QueuerError,
    Schedule,
    WorkerLost,
    WorkerStatus,
)

#: Everything happens soon, but for a busy machine that stands still for a second.
#: A worker that says nothing for 1.5 s is dead.
SMALL = MasterSettings(worker_stale_after=1.5, master_poll_interval=0.05, lock_timeout_minutes=0.02)


def execute(engine: Engine, statement: str, **parameters: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def master(q: Queuer) -> UUID | None:
    return q.get_master().worker_rid


def lose(engine: Engine, rid: UUID, losses: int = 0) -> UUID:
    """Makes a job that waits one that a worker runs, which has not been heard of for an hour."""
    worker = uuid4()
    execute(
        engine,
        "INSERT INTO worker (rid, name, max_concurrency, status, heartbeat_at)"
        " VALUES (:worker, 'lost', 1, 'RUNNING', now() - interval '1 hour')",
        worker=worker,
    )
    execute(
        engine,
        "UPDATE job SET status = 'RUNNING', worker_rid = :worker, attempts = attempts + 1, started_at = now(),"
        " losses = :losses WHERE rid = :rid",
        worker=worker,
        rid=rid,
        losses=losses,
    )
    return worker


def test_the_jobs_of_a_silent_worker_are_queued_again(q: Queuer, engine: Engine) -> None:
    heard: Queue[Any] = Queue()
    job = q.add_job("nobody has it")
    worker = lose(engine, job.rid)
    q.listen_for_job_update(heard.put)
    q.start_without_worker(SMALL)
    told = heard.get(timeout=10)
    assert (told.rid, told.status, told.attempts, told.losses, told.worker_rid) == (
        job.rid,
        JobStatus.QUEUED,
        1,
        1,
        None,
    )
    assert q.get_worker(worker).status is WorkerStatus.STOPPED


def test_a_lost_job_is_run_by_another_worker_and_a_loss_is_no_failure(q: Queuer, engine: Engine) -> None:
    q.add_task_with_name(lambda: "done", "task")
    job = q.add_job("task")
    lose(engine, job.rid, losses=2)
    q.start(SMALL)
    done = ended(q, job)
    assert (done.result, done.attempts, done.losses, done.failures) == ("done", 2, 3, [])


def test_after_four_losses_a_job_fails_with_worker_lost(q: Queuer, engine: Engine) -> None:
    q.add_task_with_name(lambda: "done", "task")
    job = q.add_job_with_options(Options(on_error=OnError(max_retries=10)), "task")
    lose(engine, job.rid, losses=3)
    q.start(SMALL)
    done = ended(q, job)
    assert (done.status, done.losses, done.results) == (JobStatus.FAILED, 4, None)
    assert done.error == "WorkerLost: the worker died under the job 4 times"
    assert issubclass(WorkerLost, QueuerError)


def test_a_series_goes_on_when_a_run_failed_with_worker_lost(q: Queuer, engine: Engine) -> None:
    hour = timedelta(hours=1)
    job = q.add_job_with_options(Options(schedule=Schedule(max_count=2, interval=hour)), "nobody has it")
    lose(engine, job.rid, losses=3)
    q.start(SMALL)
    done = ended(q, job)
    assert done.status is JobStatus.FAILED
    (following,) = q.get_jobs()
    assert (following.series_rid, following.schedule_count) == (job.rid, 2)
    assert following.scheduled_at == job.created_at + hour


def test_a_series_that_needs_a_function_ends_loudly_when_a_run_failed_with_worker_lost(
    q: Queuer, engine: Engine
) -> None:
    job = q.add_job_with_options(Options(schedule=Schedule(max_count=2, next_interval="later")), "nobody has it")
    lose(engine, job.rid, losses=3)
    q.start(SMALL)
    done = ended(q, job)
    assert done.series_error is not None
    assert "'later'" in done.series_error
    assert q.get_jobs() == []


def test_a_lost_job_that_was_cancelled_ends_cancelled_though_nobody_has_its_task(q: Queuer, engine: Engine) -> None:
    job = q.add_job("nobody has it")
    lose(engine, job.rid)
    assert q.cancel_job(job.rid).status is JobStatus.RUNNING
    q.start_without_worker(SMALL)
    assert ended(q, job).status is JobStatus.CANCELLED


def test_nobody_is_called_silent_because_the_stale_time_was_shortened(
    make_queuer: Any, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    worker, other = make_queuer(), make_queuer()
    rid = worker.get_current_worker_rid()
    with caplog.at_level(logging.WARNING, logger="queuer"):
        worker.start()  # it beats every 30 s
        eventually(lambda: master(worker) == rid)
        beat = worker.get_worker(rid).heartbeat_at
        execute(engine, "UPDATE master SET worker_rid = NULL")
        other.start(SMALL)
        eventually(lambda: other.get_worker(rid).heartbeat_at > beat + timedelta(seconds=2))
    assert other.get_worker(rid).status is WorkerStatus.RUNNING
    assert "has been silent" not in caplog.text


def test_a_worker_that_comes_back_from_a_pause_drops_its_jobs_and_goes_on(
    q: Queuer, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    runs: list[int] = []
    interrupted = threading.Event()

    @q.task
    def task() -> str:
        runs.append(1)
        if len(runs) > 1:
            return "second"
        try:
            return gate()
        except BaseException:
            interrupted.set()
            raise

    q.start(SMALL)
    job = q.add_job(task)
    gate.wait_entered()
    # As a master would have done while this worker was paused.
    execute(engine, "UPDATE worker SET status = 'STOPPED'")
    execute(engine, "UPDATE job SET status = 'QUEUED', worker_rid = NULL, started_at = NULL, losses = losses + 1")
    assert interrupted.wait(10)
    assert ended(q, q.add_job(task)).result == "second"
    done = ended(q, job)
    assert (done.result, done.attempts, done.failures) == ("second", 2, [])
    assert q.get_worker(q.get_current_worker_rid()).status is WorkerStatus.RUNNING


def test_a_job_that_its_worker_does_not_know_is_given_back_after_two_beats(q: Queuer, engine: Engine) -> None:
    q.add_task_with_name(lambda: "done", "task")
    job = q.add_job("task")
    execute(
        engine,
        "UPDATE job SET status = 'RUNNING', worker_rid = :mine, attempts = 1, started_at = now()",
        mine=q.get_current_worker_rid(),
    )
    q.start(SMALL)  # as after a claim whose answer was lost
    done = ended(q, job)
    assert (done.result, done.attempts, done.losses) == ("done", 2, 0)


def test_the_outcome_of_a_job_that_was_taken_away_is_dropped_and_logged(
    make_queuer: Any, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    q, gate = make_queuer(), Gate()
    q.add_task_with_name(gate, "task")
    other = make_queuer().get_current_worker_rid()
    with q, caplog.at_level(logging.WARNING, logger="queuer"):
        job = q.add_job("task")
        gate.wait_entered()
        execute(engine, "UPDATE job SET worker_rid = :other, attempts = 2", other=other)
        gate.go_on.set()
        eventually(lambda: q.get_job(job.rid) and "dropped the outcome" in caplog.text)
    assert (
        f"dropped the outcome SUCCEEDED of job {job.rid}, attempt 1: the job is no longer this worker's" in caplog.text
    )
    left = q.get_job(job.rid)
    assert (left.status, left.worker_rid, left.attempts) == (JobStatus.RUNNING, other, 2)
