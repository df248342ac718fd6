"""The contract's `cancel_job` and `cancel_all_jobs_by_worker`, on the public API alone."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from support.contract import Gate, ended

from queuer import JobArchive, JobNotFound, JobStatus, OnError, Options, Queuer, Schedule

IN_AN_HOUR = Schedule(start=datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize("options", [None, Options(schedule=IN_AN_HOUR)], ids=["queued", "scheduled"])
def test_a_job_that_waits_is_archived_at_once(q: Queuer, options: Options | None) -> None:
    job = q.add_job_with_options(options, "nobody has it")
    cancelled = q.cancel_job(job.rid)
    assert isinstance(cancelled, JobArchive)
    assert (cancelled.id, cancelled.rid, cancelled.status) == (job.id, job.rid, JobStatus.CANCELLED)
    assert cancelled.error == "JobCancelled: the job was cancelled while it waited"
    assert (cancelled.attempts, cancelled.started_at, cancelled.results) == (0, None, None)
    assert q.get_jobs() == []
    assert q.get_job_ended(job.rid).status is JobStatus.CANCELLED


def test_who_waits_for_a_job_hears_that_it_was_cancelled(make_queuer: Any) -> None:
    client, other = make_queuer(), make_queuer()
    job = client.add_job("nobody has it")
    client.wait_for_job_finished(job.rid, timeout_seconds=0)
    canceller = threading.Thread(target=other.cancel_job, args=[job.rid])
    canceller.start()
    assert ended(client, job).status is JobStatus.CANCELLED
    canceller.join()


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("where", ["here", "on another queuer"])
def test_a_running_job_is_interrupted_on_its_worker(make_queuer: Any, kind: str, where: str) -> None:
    worker = make_queuer()
    canceller = worker if where == "here" else make_queuer()
    entered = threading.Event()

    def loop() -> None:
        entered.set()
        while True:
            pass

    async def coroutine() -> None:
        entered.set()
        await asyncio.Event().wait()

    worker.add_task_with_name(loop if kind == "sync" else coroutine, "endless")
    worker.add_task_with_name(lambda: "alive", "next")
    with worker:
        job = worker.add_job_with_options(Options(on_error=OnError(timeout=0, max_retries=5)), "endless")
        assert entered.wait(5)
        answer = canceller.cancel_job(job.rid)
        assert answer.rid == job.rid
        done = ended(canceller, job, timeout=5)
        assert (done.status, done.error) == (
            JobStatus.CANCELLED,
            "JobCancelled: the job was cancelled while it ran",
        )
        assert (done.attempts, done.failures, done.results) == (1, [], None)
        assert ended(worker, worker.add_job("next")).result == "alive"


def test_the_slot_of_a_cancelled_job_is_free_again(make_queuer: Any) -> None:
    q, gate = make_queuer(max_concurrency=1), Gate()
    q.add_task_with_name(gate, "task")
    q.add_task_with_name(lambda: "ran", "next")
    with q:
        job, following = q.add_job("task"), q.add_job("next")
        gate.wait_entered()
        q.cancel_job(job.rid)
        assert ended(q, following).result == "ran"
        assert q.get_job_ended(job.rid).status is JobStatus.CANCELLED


def test_a_task_that_swallows_its_cancelling_has_been_cancelled_all_the_same(q: Queuer) -> None:
    entered = threading.Event()

    @q.task
    def stubborn() -> str:
        try:
            entered.set()
            while True:
                pass
        except BaseException:  # noqa: BLE001
            return "I went on"

    with q:
        job = q.add_job(stubborn)
        assert entered.wait(5)
        q.cancel_job(job.rid)
        done = ended(q, job)
    assert (done.status, done.result) == (JobStatus.CANCELLED, None)


def test_a_task_that_ends_before_it_is_interrupted_has_been_cancelled_all_the_same(q: Queuer, engine: Engine) -> None:
    gate = Gate()
    q.add_task_with_name(gate, "task")
    with q:
        job = q.add_job("task")
        gate.wait_entered()
        with engine.begin() as connection:  # as cancel_job does, but its notification is lost
            connection.execute(text("UPDATE job SET cancel_requested_at = now()"))
        gate.go_on.set()
        done = ended(q, job)
    assert (done.status, done.error) == (JobStatus.CANCELLED, "JobCancelled: cancelled as it ended")
    assert done.result is None


def test_a_job_that_was_cancelled_is_not_tried_again(q: Queuer, engine: Engine) -> None:
    runs: list[int] = []
    gate = Gate()

    @q.task
    def breaks() -> None:
        runs.append(1)
        gate()
        raise ValueError("no")

    with q:
        job = q.add_job_with_options(Options(on_error=OnError(max_retries=5, retry_delay=3600)), breaks)
        gate.wait_entered()
        with engine.begin() as connection:
            connection.execute(text("UPDATE job SET cancel_requested_at = now()"))
        gate.go_on.set()
        assert ended(q, job).status is JobStatus.CANCELLED
    assert runs == [1]


def test_a_retry_that_waits_is_cancelled_at_once_and_keeps_its_failures(q: Queuer) -> None:
    rescheduled = threading.Event()

    @q.task
    def breaks() -> None:
        raise ValueError("no")

    q.listen_for_job_update(lambda job: rescheduled.set() if job.status is JobStatus.SCHEDULED else None)
    with q:
        job = q.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=3600)), breaks)
        assert rescheduled.wait(5)
        cancelled = q.cancel_job(job.rid)
    assert (cancelled.status, cancelled.attempts) == (JobStatus.CANCELLED, 1)
    assert [failure["message"] for failure in cancelled.failures] == ["no"]


def test_cancelling_a_run_that_waits_ends_its_series(q: Queuer) -> None:
    schedule = Schedule(start=datetime.now(UTC) + timedelta(hours=1), max_count=0, interval=timedelta(hours=1))
    job = q.add_job_with_options(Options(schedule=schedule), "nobody has it")
    q.cancel_job(job.rid)
    assert q.get_jobs() == []


def test_cancelling_a_run_that_runs_ends_its_series(q: Queuer) -> None:
    gate = Gate()
    q.add_task_with_name(gate, "task")
    with q:
        schedule = Schedule(max_count=0, interval=timedelta(hours=1))
        job = q.add_job_with_options(Options(schedule=schedule), "task")
        gate.wait_entered()
        q.cancel_job(job.rid)
        assert ended(q, job).status is JobStatus.CANCELLED
        assert q.get_jobs() == []


def test_a_run_cancelled_as_it_ends_ends_its_series(q: Queuer, engine: Engine) -> None:
    gate = Gate()
    q.add_task_with_name(gate, "task")
    with q:
        job = q.add_job_with_options(Options(schedule=Schedule(max_count=0, interval=timedelta(hours=1))), "task")
        gate.wait_entered()
        with engine.begin() as connection:
            connection.execute(text("UPDATE job SET cancel_requested_at = now()"))
        gate.go_on.set()
        assert ended(q, job).status is JobStatus.CANCELLED
        assert q.get_jobs() == []


def test_unknown_jobs_and_ended_ones_can_not_be_cancelled(q: Queuer) -> None:
    unknown = uuid4()
    with pytest.raises(JobNotFound, match=f"there is no job {unknown} that could be cancelled"):
        q.cancel_job(unknown)
    with pytest.raises(ValueError, match="rid is 'x'; allowed is a UUID"):
        q.cancel_job("x")
    job = q.add_job("nobody has it")
    q.cancel_job(str(job.rid))
    with pytest.raises(JobNotFound, match=f"job {job.rid} has ended, CANCELLED; it can't be cancelled any more"):
        q.cancel_job(job.rid)


def test_a_job_cancelled_while_its_worker_was_lost_does_not_run_again(q: Queuer, engine: Engine) -> None:
    ran = threading.Event()
    q.add_task_with_name(ran.set, "task")
    job = q.add_job("task")
    lost = uuid4()
    with engine.begin() as connection:  # a worker claimed it, and died
        connection.execute(
            text("UPDATE job SET status = 'RUNNING', worker_rid = :lost, attempts = 1, started_at = now()"),
            {"lost": lost},
        )
    assert q.cancel_job(job.rid).status is JobStatus.RUNNING
    with q:
        done = ended(q, job)
    assert done.status is JobStatus.CANCELLED
    assert done.error is not None
    assert done.error.startswith("JobCancelled: ")
    assert not ran.is_set()


def test_a_cancelled_job_of_a_stopping_worker_ends_though_nobody_else_has_its_task(
    make_queuer: Any, engine: Engine
) -> None:
    q, gate = make_queuer(), Gate()
    q.add_task_with_name(gate, "task")
    q.start()
    job = q.add_job("task")
    gate.wait_entered()
    with engine.begin() as connection:  # the notification did not arrive yet
        connection.execute(text("UPDATE job SET cancel_requested_at = now()"))
    q.stop(timeout=0)
    assert q.get_job_ended(job.rid).status is JobStatus.CANCELLED


def test_all_jobs_of_a_worker_are_cancelled_the_oldest_first(make_queuer: Any) -> None:
    worker, other = make_queuer(max_concurrency=3), make_queuer()
    gate = Gate()
    worker.add_task_with_name(gate, "task")
    with worker:
        jobs = [worker.add_job("task") for _ in range(3)]
        waiting = worker.add_job("nobody has it")
        for _ in jobs:
            gate.wait_entered()
        rid = worker.get_current_worker_rid()
        assert [job.rid for job in other.cancel_all_jobs_by_worker(rid, entries=2)] == [job.rid for job in jobs[:2]]
        assert [ended(other, job).status for job in jobs[:2]] == [JobStatus.CANCELLED] * 2
        assert [job.rid for job in other.get_jobs_by_worker_rid(rid)] == [jobs[2].rid]
        assert [job.rid for job in other.cancel_all_jobs_by_worker(str(rid))] == [jobs[2].rid]
        assert ended(other, jobs[2]).status is JobStatus.CANCELLED
        assert other.cancel_all_jobs_by_worker(rid) == []
        assert other.get_job(waiting.rid).status is JobStatus.QUEUED


def test_of_an_unknown_worker_there_is_nothing_to_cancel(q: Queuer) -> None:
    assert q.cancel_all_jobs_by_worker(uuid4()) == []
    with pytest.raises(ValueError, match="entries is 0; allowed are 1 to 1000"):
        q.cancel_all_jobs_by_worker(uuid4(), entries=0)


def test_coroutines_cancel_too(q: Queuer) -> None:
    async def cancel() -> None:
        job = await q.add_job_async("nobody has it")
        cancelled = await q.cancel_job_async(job.rid)
        assert (cancelled.rid, cancelled.status) == (job.rid, JobStatus.CANCELLED)
        with pytest.raises(JobNotFound, match="has ended, CANCELLED"):
            await q.cancel_job_async(job.rid)
        with pytest.raises(JobNotFound, match="there is no job"):
            await q.cancel_job_async(uuid4())

    asyncio.run(cancel())
