"""The contract's master: its office and its duties, on the public API alone."""

import logging
import re
import threading
from datetime import timedelta
from queue import Queue
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from support.contract import Gate, ended, eventually

from queuer import (
    JobNotFound,
    JobStatus,
    MasterSettings,
    OnError,
    Options,
    Queuer,
    QueuerError,
    Schedule,
    WorkerLost,
    WorkerNotFound,
    WorkerStatus,
)

#: Everything happens soon. A worker that says nothing for 0.4 s is dead, and a master for 0.3 s.
SMALL = MasterSettings(worker_stale_after=0.4, master_poll_interval=0.05, lock_timeout_minutes=0.005)


def execute(engine: Engine, statement: str, **parameters: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def master(q: Queuer) -> UUID | None:
    return q.get_master().worker_rid


def test_one_worker_at_a_time_is_the_master(make_queuer: Any) -> None:
    queuers = [make_queuer() for _ in range(3)]
    for q in queuers:
        q.start(SMALL)
    first = eventually(lambda: master(queuers[0]))
    elected_at = queuers[0].get_master().elected_at
    beat = queuers[0].get_master().heartbeat_at
    assert first in {q.get_current_worker_rid() for q in queuers}
    eventually(lambda: queuers[0].get_master().heartbeat_at > beat + timedelta(seconds=0.5))  # longer than the lock
    assert (master(queuers[0]), queuers[0].get_master().elected_at) == (first, elected_at)


def test_stop_releases_the_office_and_another_takes_over_at_once(make_queuer: Any) -> None:
    first, second = make_queuer(), make_queuer()
    first.start()  # every 30 s is the default: only a notification is soon enough
    eventually(lambda: master(first) == first.get_current_worker_rid())
    second.start()
    first.stop()
    eventually(lambda: master(second) == second.get_current_worker_rid(), timeout=5)
    second.stop()
    assert master(second) is None


def test_another_takes_over_from_a_dead_one_within_the_lock_timeout(q: Queuer, engine: Engine) -> None:
    execute(
        engine, "UPDATE master SET worker_rid = gen_random_uuid(), heartbeat_at = now(), lock_timeout_minutes = 0.01"
    )
    with q:
        dead = master(q)
        assert dead not in {None, q.get_current_worker_rid()}
        eventually(lambda: master(q) == q.get_current_worker_rid(), timeout=5)


def test_a_master_keeps_its_office_though_it_polls_less_often_than_the_lock_lasts(make_queuer: Any) -> None:
    settings = MasterSettings(master_poll_interval=3600, lock_timeout_minutes=0.005)
    first, second = make_queuer(), make_queuer()
    first.start(settings)
    elected = eventually(lambda: first.get_master().elected_at)
    second.start()
    beat = first.get_master().heartbeat_at
    eventually(lambda: first.get_master().heartbeat_at > beat + timedelta(seconds=0.4))
    assert first.get_master().elected_at == elected


def test_the_settings_are_kept_in_the_database_and_seen(make_queuer: Any) -> None:
    first, second = make_queuer(), make_queuer()
    settings = MasterSettings(7, 11.5, 3, 90, 1000)
    first.start_without_worker(settings)
    eventually(lambda: master(second))
    first.stop()
    with second:  # which brings none: those in force stay
        eventually(lambda: master(second) == second.get_current_worker_rid())
        found = second.get_master()
    assert (
        MasterSettings(
            found.retention_archive,
            found.master_poll_interval,
            found.lock_timeout_minutes,
            found.worker_stale_after,
            found.worker_delete_after,
        )
        == settings
    )


@pytest.mark.parametrize(
    "field", ["master_poll_interval", "lock_timeout_minutes", "worker_stale_after", "worker_delete_after"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e300, True, "5", None])
def test_a_setting_out_of_range_is_a_value_error(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{field} is {value!r}; allowed")):
        MasterSettings(**{field: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, True, 36_501, 2**31, "5", None])
def test_a_retention_out_of_range_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=f"retention_archive is {value!r}; allowed"):
        MasterSettings(retention_archive=value)


def test_settings_of_another_type_are_refused(q: Queuer) -> None:
    for start in (q.start, q.start_without_worker):
        with pytest.raises(TypeError, match="master_settings is 5; allowed is a MasterSettings or None"):
            start(5)  # type: ignore[arg-type]


def test_it_deletes_ended_jobs_that_are_too_old(q: Queuer, engine: Engine) -> None:
    old, young = uuid4(), uuid4()
    insert = """INSERT INTO job_archive (id, rid, status, task_name, ended_at)
        VALUES (:id, :rid, 'SUCCEEDED', 'task', now() - :days * interval '1 day')"""
    execute(engine, insert, id=1, rid=old, days=9)
    execute(engine, insert, id=2, rid=young, days=6)
    q.start_without_worker(MasterSettings(retention_archive=7, master_poll_interval=0.05))

    def is_gone() -> bool:
        try:
            q.get_job_ended(old)
        except JobNotFound:
            return True
        return False

    eventually(is_gone)
    assert q.get_job_ended(young).rid == young


def test_it_deletes_workers_that_stopped_long_ago(make_queuer: Any, engine: Engine) -> None:
    q, stopped, young = make_queuer(), make_queuer(), make_queuer()
    rid = stopped.get_current_worker_rid()
    execute(engine, "UPDATE worker SET heartbeat_at = now() - interval '2 hours' WHERE rid = :rid", rid=rid)
    with q:

        def is_gone() -> bool:
            try:
                q.get_worker(rid)
            except WorkerNotFound:
                return True
            return False

        q.stop()
        q.start(MasterSettings(worker_delete_after=3600, master_poll_interval=0.05))
        eventually(is_gone)
        assert q.get_worker(young.get_current_worker_rid())
    stopped.add_task_with_name(lambda: "done", "task")
    with stopped:  # it registers again under its rid
        assert stopped.get_worker(rid).status is WorkerStatus.RUNNING
        assert ended(stopped, stopped.add_job("task")).result == "done"


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
        eventually(lambda: other.get_worker(rid).heartbeat_at > beat + timedelta(seconds=0.8))
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
