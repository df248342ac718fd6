"""The contract's `listen_for_job_…` and `wait_for_job_added`, on the public API alone."""

import threading
from collections import Counter
from datetime import datetime, timedelta
from queue import Queue
from typing import Any

import pytest
from sqlalchemy import Engine, text
from support.contract import Gate, ended

from queuer import (
    BatchJob,
    Job,
    JobArchive,
    JobStatus,
    OnError,
    Options,
    Queuer,
    Schedule,
)

Heard = Queue[Any]


def take(heard: Heard, count: int = 1) -> list[Any]:
    return [heard.get(timeout=10) for _ in range(count)]


def test_insert_tells_a_full_job_once(q: Queuer) -> None:
    heard: Heard = Queue()
    q.listen_for_job_insert(heard.put)
    with q:
        options = Options(metadata={"of": "me"}, on_error=OnError(timeout=5))
        job = q.add_job_with_options(options, "nobody has it", 1, key="word")
        (told,) = take(heard)
        q.add_job("the last")
        (last,) = take(heard)
    assert isinstance(told, Job)
    assert (told.id, told.rid, told.task_name, told.status) == (job.id, job.rid, "nobody has it", JobStatus.QUEUED)
    assert (told.parameters, told.parameters_keyed, told.options) == ([1], {"key": "word"}, options)
    assert told.created_at == job.created_at
    assert last.task_name == "the last"
    assert heard.empty()


@pytest.mark.parametrize("size", [3, 200, 1200])
def test_insert_tells_every_job_of_a_batch_once_and_in_order(q: Queuer, size: int) -> None:
    heard: Heard = Queue()
    q.listen_for_job_insert(heard.put)
    with q:
        rids = q.add_jobs(BatchJob("nobody has it", [n]) for n in range(size))
        q.add_job("the last")
        told = take(heard, size + 1)
    assert [job.rid for job in told[:-1]] == rids
    assert told[-1].task_name == "the last"
    assert heard.empty()


def test_insert_tells_each_job_once_when_many_add_at_once(make_queuer: Any) -> None:
    listening, adding = make_queuer(), make_queuer()
    heard: Heard = Queue()
    listening.listen_for_job_insert(heard.put)
    with listening:

        def add() -> None:
            adding.add_jobs(BatchJob("nobody has it") for _ in range(100))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = take(heard, 400)
        adding.add_job("the last")
        assert take(heard)[0].task_name == "the last"
    assert set(Counter(job.rid for job in told).values()) == {1}


def test_insert_tells_of_jobs_that_another_program_adds_by_sql(q: Queuer, engine: Engine) -> None:
    heard: Heard = Queue()
    q.listen_for_job_insert(heard.put)
    with q:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO job (task_name, parameters) VALUES ('task', '[7]')"))
        (told,) = take(heard)
    assert (told.task_name, told.parameters, told.parameters_keyed) == ("task", [7], {})


def test_insert_tells_of_the_next_run_of_a_series(q: Queuer) -> None:
    heard: Heard = Queue()
    q.add_task_with_name(lambda: None, "task")
    q.listen_for_job_insert(heard.put)
    with q:
        job = q.add_job_with_options(Options(schedule=Schedule(max_count=2, interval=timedelta(hours=1))), "task")
        first, second = take(heard, 2)
    assert (first.rid, second.series_rid, second.schedule_count) == (job.rid, job.rid, 2)


def test_update_tells_at_every_start_retry_and_give_back(q: Queuer) -> None:
    heard: Heard = Queue()
    runs: list[int] = []
    gate = Gate()

    @q.task
    def task() -> None:
        runs.append(1)
        gate.entered.release()
        if len(runs) == 1:
            told_of_the_start.wait(10)
            raise ValueError("no")
        while not gate.go_on.wait(0.005):
            pass

    told_of_the_start = threading.Event()
    q.listen_for_job_update(heard.put)
    q.start()
    job = q.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=0.2)), task)
    gate.wait_entered()
    (start,) = take(heard)
    assert (start.rid, start.status, start.attempts) == (job.rid, JobStatus.RUNNING, 1)
    assert start.worker_rid == q.get_current_worker_rid()
    told_of_the_start.set()
    (retry,) = take(heard)
    assert (retry.status, retry.attempts, len(retry.failures)) == (JobStatus.SCHEDULED, 1, 1)
    (again,) = take(heard)
    assert (again.status, again.attempts) == (JobStatus.RUNNING, 2)
    gate.wait_entered()
    q.stop(timeout=0)
    (given_back,) = take(heard)
    assert (given_back.status, given_back.worker_rid, given_back.attempts) == (JobStatus.QUEUED, None, 2)
    assert heard.empty()


def test_delete_tells_of_every_end_whatever_the_outcome(q: Queuer) -> None:
    heard: Heard = Queue()

    @q.task
    def breaks() -> None:
        raise ValueError("no")

    q.add_task_with_name(lambda: 42, "works")
    q.listen_for_job_delete(heard.put)
    with q:
        succeeded = ended(q, q.add_job("works"))
        failed = ended(q, q.add_job(breaks))
        cancelled = q.cancel_job(q.add_job("nobody has it").rid)
        told = take(heard, 3)
    assert [(job.rid, job.status) for job in told] == [
        (succeeded.rid, JobStatus.SUCCEEDED),
        (failed.rid, JobStatus.FAILED),
        (cancelled.rid, JobStatus.CANCELLED),
    ]
    assert [type(job) for job in told] == [JobArchive] * 3
    assert [(job.result, job.error) for job in told[:2]] == [(42, None), (None, "ValueError: no")]
    assert heard.empty()


def test_delete_gives_results_of_the_type_that_the_task_returns(q: Queuer) -> None:
    heard: Heard = Queue()

    @q.task
    def now() -> datetime:
        return datetime(2026, 1, 1)

    q.listen_for_job_delete(heard.put)
    with q:
        q.add_job(now)
        (told,) = take(heard)
    assert told.result == datetime(2026, 1, 1)


def test_delete_tells_of_jobs_that_end_while_the_worker_stops(q: Queuer) -> None:
    heard: Heard = Queue()
    gate = Gate()
    q.add_task_with_name(gate, "task")
    q.listen_for_job_delete(heard.put)
    q.start()
    job = q.add_job("task")
    gate.wait_entered()
    q.stop(timeout=0, cancel_jobs=True)
    assert [told.rid for told in take(heard)] == [job.rid]
