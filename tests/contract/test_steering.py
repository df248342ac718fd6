"""The contract's steering but for cancelling: adding again, deleting, stopping workers. On the public API alone."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from support.contract import Gate, ended, eventually

from queuer import (
    JobNotFound,
    JobStatus,
    OnError,
    Options,
    Queuer,
    Schedule,
    WorkerNotFound,
    WorkerStatus,
    current_job,
)


def test_readding_adds_a_new_job_with_the_same_task_parameters_and_options(q: Queuer) -> None:
    options = Options(on_error=OnError(timeout=7, max_retries=1, retry_backoff="linear"), metadata={"of": "me"})

    @q.task_with_name("task")
    def task(number: int, numbers: list[int], key: dict[str, None]) -> str:
        return "done"

    job = q.add_job_with_options(options, "task", 1, [2], key={"a": None})
    with q:
        done = ended(q, job)
    again = q.readd_job_from_archive(done.rid)
    assert again.rid != job.rid
    assert again.id > job.id
    assert (again.task_name, again.status, again.attempts) == ("task", JobStatus.QUEUED, 0)
    assert (again.parameters, again.parameters_keyed, again.options) == ([1, [2]], {"key": {"a": None}}, options)
    assert q.get_job(again.rid).options == options
    assert q.get_job_ended(job.rid).status is JobStatus.SUCCEEDED
    with q:
        assert ended(q, again).result == "done"


def test_a_schedule_in_the_past_is_due_at_once_when_it_is_readded(q: Queuer, engine: Engine) -> None:
    q.add_task_with_name(lambda: "done", "task")
    options = Options(schedule=Schedule(start=datetime.now(UTC) - timedelta(days=1)))
    with q:
        job = q.add_job_with_options(options, "task")
        ended(q, job)
        again = q.readd_job_from_archive(str(job.rid))
        assert ended(q, again, timeout=4).result == "done"


def test_a_schedule_in_the_future_is_kept_when_it_is_readded(q: Queuer) -> None:
    start = datetime.now(UTC) + timedelta(hours=1)
    job = q.add_job_with_options(Options(schedule=Schedule(start=start)), "task")
    q.cancel_job(job.rid)
    again = q.readd_job_from_archive(job.rid)
    assert (again.status, again.scheduled_at) == (JobStatus.SCHEDULED, start)


def test_readding_a_run_begins_a_series_of_its_own(q: Queuer) -> None:
    schedule = Schedule(max_count=3, interval=timedelta(hours=1))
    job = q.add_job_with_options(Options(schedule=schedule), "task")
    q.cancel_job(job.rid)
    again = q.readd_job_from_archive(job.rid)
    assert (again.series_rid, again.schedule_count, again.options.schedule) == (again.rid, 1, schedule)


def test_a_job_readded_while_a_job_runs_names_it_as_its_parent(q: Queuer) -> None:
    old = q.add_job("nobody has it")
    q.cancel_job(old.rid)

    @q.task
    def readd() -> list[str]:
        again = q.readd_job_from_archive(old.rid)
        return [str(again.parent_rid), str(current_job().rid)]

    with q:
        parent, current = ended(q, q.add_job(readd)).result
    assert parent == current


def test_deleting_deletes_from_the_archive(q: Queuer) -> None:
    job = q.add_job("task")
    q.cancel_job(job.rid)
    q.delete_job(job.rid)
    assert q.get_jobs_ended() == []
    with pytest.raises(JobNotFound, match=f"there is no job {job.rid}; it was never added here, or was deleted"):
        q.get_job_ended(job.rid)
    with pytest.raises(JobNotFound, match=f"there is no ended job {job.rid}; only what is in the archive can be del"):
        q.delete_job(job.rid)


def test_only_what_is_in_the_archive_can_be_readded_or_deleted(q: Queuer) -> None:
    live = q.add_job("task").rid
    for rid in (live, uuid4()):
        with pytest.raises(JobNotFound, match=f"there is no ended job {rid}; only what is in the archive can be added"):
            q.readd_job_from_archive(rid)
        with pytest.raises(JobNotFound, match=f"there is no ended job {rid}; only what is in the archive can be del"):
            q.delete_job(rid)
    assert q.get_job(live).status is JobStatus.QUEUED
    for steer in (q.readd_job_from_archive, q.delete_job, q.stop_worker, q.stop_worker_gracefully, q.get_worker):
        with pytest.raises(ValueError, match="rid is 'x'; allowed is a UUID"):
            steer("x")


def test_stopping_a_worker_interrupts_its_jobs_and_queues_them_again(make_queuer: Any) -> None:
    worker, other = make_queuer(), make_queuer()
    gate = Gate()
    worker.add_task_with_name(gate, "task")
    worker.start()
    job = worker.add_job("task")
    gate.wait_entered()
    rid = worker.get_current_worker_rid()
    assert other.get_worker(rid).status is WorkerStatus.RUNNING
    other.stop_worker(rid)
    eventually(lambda: other.get_worker(rid).status is WorkerStatus.STOPPED)
    queued = other.get_job(job.rid)
    assert (queued.status, queued.attempts, queued.failures) == (JobStatus.QUEUED, 1, [])


def test_stopping_a_worker_gracefully_lets_its_jobs_end(make_queuer: Any) -> None:
    worker, other = make_queuer(), make_queuer()
    gate = Gate()
    worker.add_task_with_name(gate, "task")
    worker.start()
    job = worker.add_job("task")
    gate.wait_entered()
    rid = worker.get_current_worker_rid()
    other.stop_worker_gracefully(str(rid))
    eventually(lambda: other.get_worker(rid) and "stopping" in repr(worker))
    waiting = other.add_job("task")
    gate.go_on.set()
    assert ended(other, job).result == "done"
    eventually(lambda: other.get_worker(rid).status is WorkerStatus.STOPPED)
    assert other.get_job(waiting.rid).status is JobStatus.QUEUED


def test_a_worker_that_stops_gracefully_can_be_stopped_at_once(make_queuer: Any) -> None:
    worker, other = make_queuer(), make_queuer()
    gate = Gate()
    worker.add_task_with_name(gate, "task")
    worker.start()
    job = worker.add_job("task")
    gate.wait_entered()
    rid = worker.get_current_worker_rid()
    other.stop_worker_gracefully(rid)
    eventually(lambda: other.get_worker(rid) and "stopping" in repr(worker))
    other.stop_worker(rid)
    eventually(lambda: other.get_worker(rid).status is WorkerStatus.STOPPED)
    assert other.get_job(job.rid).status is JobStatus.QUEUED


def test_a_stopped_worker_can_be_started_again(make_queuer: Any) -> None:
    worker, other = make_queuer(), make_queuer()
    worker.add_task_with_name(lambda: "done", "task")
    worker.start()
    rid = worker.get_current_worker_rid()
    other.stop_worker(rid)
    eventually(lambda: other.get_worker(rid).status is WorkerStatus.STOPPED)
    other.stop_worker(rid)  # nobody is there to hear it
    worker.stop()
    worker.start()
    assert ended(other, other.add_job("task")).result == "done"
    assert other.get_worker(rid).status is WorkerStatus.RUNNING


def test_a_worker_that_is_told_while_it_learns_a_task_stops_all_the_same(q: Queuer, engine: Engine) -> None:
    q.start()
    with engine.begin() as connection:  # as stop_worker does; its notification is still under way
        connection.execute(text("UPDATE worker SET asked_to = 'STOP'"))
    q.add_task_with_name(lambda: None, "task")
    eventually(lambda: q.get_worker(q.get_current_worker_rid()).status is WorkerStatus.STOPPED)


def test_a_task_may_ask_for_its_own_worker_to_stop(q: Queuer) -> None:
    @q.task
    def leave() -> str:
        q.stop_worker_gracefully(q.get_current_worker_rid())
        return "asked"

    q.start()
    job = q.add_job(leave)
    eventually(lambda: q.get_worker(q.get_current_worker_rid()).status is WorkerStatus.STOPPED)
    assert q.get_job_ended(job.rid).result == "asked"


def test_unknown_workers_can_not_be_stopped(q: Queuer) -> None:
    unknown = uuid4()
    for look in (q.stop_worker, q.stop_worker_gracefully, q.get_worker):
        with pytest.raises(WorkerNotFound, match=f"there is no worker {unknown}"):
            look(unknown)


def test_run_returns_when_somebody_stops_the_worker(make_queuer: Any) -> None:
    worker, other = make_queuer(), make_queuer()
    rid = worker.get_current_worker_rid()

    def stop() -> None:
        eventually(lambda: other.get_worker(rid).status is WorkerStatus.RUNNING)
        other.stop_worker(rid)

    stopper = threading.Thread(target=stop)
    stopper.start()
    worker.run()
    stopper.join()
    assert other.get_worker(rid).status is WorkerStatus.STOPPED
