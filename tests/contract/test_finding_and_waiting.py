"""The contract's "Finding, waiting, steering", as far as it is built, on the public API alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from queuer import BatchJob, JobNotFound, JobStatus, Queuer

OF_LISTENERS = "FROM pg_stat_activity WHERE application_name = 'queuer listener' AND datname = current_database()"


@pytest.fixture
def done(q: Queuer) -> UUID:
    """A job that has ended."""
    q.add_task_with_name(lambda: "done", "task")
    job = q.add_job("task")
    with q:
        q.wait_for_job_finished(job.rid)
    return job.rid


def test_a_job_is_found_where_it_is_and_errors_say_where_that_is(q: Queuer, done: UUID) -> None:
    live = q.add_job("nobody has it").rid
    assert q.get_job(str(live)).rid == live
    assert q.get_job_ended(str(done)).rid == done
    with pytest.raises(JobNotFound, match=rf"job {done} has ended; use get_job_ended\('{done}'\)"):
        q.get_job(done)
    with pytest.raises(JobNotFound, match=f"job {live} has not ended; use get_job"):
        q.get_job_ended(live)
    unknown = uuid4()
    for look in (q.get_job, q.get_job_ended, q.wait_for_job_finished):
        with pytest.raises(JobNotFound, match=f"there is no job {unknown}"):
            look(unknown)
        with pytest.raises(ValueError, match="rid is 'x'; allowed is a UUID"):
            look("x")


class LibrarysUUID(UUID):
    """As libraries for other versions of UUIDs have them."""

    def __str__(self) -> str:
        raise NotImplementedError


def test_a_rid_may_be_of_a_librarys_class(q: Queuer) -> None:
    rid = q.add_job("task").rid
    assert q.get_job(LibrarysUUID(int=rid.int)).rid == rid
    with pytest.raises(JobNotFound, match="there is no ended job"):
        q.delete_job(LibrarysUUID(int=1))


def test_pages_are_newest_first_and_go_on_behind_the_last_id(q: Queuer) -> None:
    rids = q.add_jobs(BatchJob("task", [n]) for n in range(7))
    seen, last = [], 0
    while page := q.get_jobs(last_id=last, entries=3):
        assert len(page) <= 3
        seen += [job.rid for job in page]
        last = page[-1].id
    assert seen == rids[::-1]
    assert [job.rid for job in q.get_jobs(status="QUEUED", entries=1)] == rids[-1:]
    assert q.get_jobs(status=JobStatus.RUNNING) == []


def test_ended_jobs_are_listed_by_status(q: Queuer, done: UUID) -> None:
    assert [job.rid for job in q.get_jobs_ended()] == [done]
    assert [job.rid for job in q.get_jobs_ended(status="SUCCEEDED")] == [done]
    assert q.get_jobs_ended(status="FAILED") == []
    assert q.get_jobs() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"last_id": -1}, "last_id is -1; allowed is the id of a job or worker, or 0"),
        ({"last_id": 2**63}, "last_id is"),
        ({"last_id": "5"}, "last_id is '5'"),
        ({"entries": 0}, "entries is 0; allowed are 1 to 1000"),
        ({"entries": 1001}, "entries is 1001"),
        ({"status": "queued"}, "status is 'queued'; allowed are"),
        ({"status": "DONE"}, "status is 'DONE'; allowed are"),
        ({"status": 5}, "status is 5; allowed are"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(q: Queuer, arguments: dict[str, Any], says: str) -> None:
    for page in (q.get_jobs, q.get_jobs_ended):
        with pytest.raises(ValueError, match=says):
            page(**arguments)


def test_live_and_ended_states_are_not_mixed_up(q: Queuer) -> None:
    with pytest.raises(ValueError, match="status is 'FAILED'; allowed are 'QUEUED', 'SCHEDULED', 'RUNNING'"):
        q.get_jobs(status="FAILED")
    with pytest.raises(ValueError, match="status is 'RUNNING'; allowed are 'SUCCEEDED', 'FAILED', 'CANCELLED'"):
        q.get_jobs_ended(status="RUNNING")


def test_waiting_for_what_has_ended_returns_at_once(q: Queuer, done: UUID) -> None:
    job = q.wait_for_job_finished(done, timeout_seconds=0)
    assert job is not None
    assert job.result == "done"


def test_waiting_ends_with_none_after_the_timeout(q: Queuer) -> None:
    assert q.wait_for_job_finished(q.add_job("nobody has it").rid, timeout_seconds=0.05) is None


def test_many_waiters_share_one_connection_and_each_gets_its_job(make_queuer: Any, engine: Engine) -> None:
    client, worker = make_queuer(), make_queuer()
    worker.add_task_with_name(lambda n: n, "task")
    rids = client.add_jobs(BatchJob("task", [n]) for n in range(60))
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(client.wait_for_job_finished, rid, 20) for rid in rids]
        with worker:
            results = [future.result() for future in waiting]
    assert [job and job.result for job in results] == list(range(60))
    with engine.connect() as connection:
        assert connection.scalar(text(f"SELECT count(*) {OF_LISTENERS}")) == 1


def test_a_job_that_ends_between_two_looks_is_not_missed(q: Queuer) -> None:
    q.add_task_with_name(lambda n: n, "task")
    with q:
        for n in range(100):
            job = q.wait_for_job_finished(q.add_job("task", n).rid, timeout_seconds=5)
            assert job is not None
            assert job.result == n


def test_a_cut_connection_loses_no_waiter(make_queuer: Any, engine: Engine) -> None:
    client, worker = make_queuer(), make_queuer()
    go_on = threading.Event()
    worker.add_task_with_name(lambda: go_on.wait(10), "task")
    with worker, ThreadPoolExecutor(1) as pool:
        job = client.add_job("task")
        client.wait_for_job_finished(job.rid, timeout_seconds=0)  # it listens from here on
        waiting = pool.submit(client.wait_for_job_finished, job.rid, 20)
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend(pid) {OF_LISTENERS}"))
        go_on.set()
        found = waiting.result()
    assert found is not None
    assert found.result is True
