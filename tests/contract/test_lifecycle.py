"""The contract's "Lifecycle", as far as it is built, on the public API alone."""

import subprocess
import sys
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, text
from support.contract import eventually
from support.servers import Databases

from queuer import (
    DatabaseConfiguration,
    DatabaseUnavailable,
    JobStatus,
    Queuer,
    QueuerError,
)

OUR_CONNECTIONS = "FROM pg_stat_activity WHERE application_name LIKE 'queuer%' AND datname = current_database()"


def connections(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text(f"SELECT count(*) {OUR_CONNECTIONS}")) or 0


def test_a_second_start_is_an_error(q: Queuer) -> None:
    with q, pytest.raises(QueuerError, match=r"queuer 'test' runs already; stop\(\) it before"):
        q.start()


def test_stop_is_safe_twice_and_when_never_started(q: Queuer) -> None:
    q.stop()
    q.start()
    q.stop()
    q.stop()


def test_start_after_stop_works(q: Queuer) -> None:
    q.add_task_with_name(lambda: "done", "task")
    for _ in range(3):
        with q:
            job = q.wait_for_job_finished(q.add_job("task").rid, timeout_seconds=10)
            assert job is not None
            assert job.result == "done"


def test_no_thread_and_no_connection_is_left(q: Queuer, engine: Engine) -> None:
    before = threading.active_count()
    for kind in ("sync", "async"):
        q.add_task_with_name(_sync if kind == "sync" else _async, kind)
    with q:
        for kind in ("sync", "async"):
            q.wait_for_job_finished(q.add_job(kind).rid)
    assert threading.active_count() == before
    assert connections(engine) == 0


def _sync() -> None: ...


async def _async() -> None: ...


def test_an_idle_worker_holds_three_connections_at_most(q: Queuer, engine: Engine) -> None:
    with q:
        eventually(lambda: connections(engine) <= 3)  # a fourth when the heart beats while the master is at work


def test_stop_lets_running_jobs_end(q: Queuer) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @q.task
    def task() -> str:
        entered.set()
        go_on.wait(5)
        return "done"

    q.start()
    job = q.add_job(task)
    entered.wait(5)
    stopping = threading.Thread(target=q.stop)
    stopping.start()
    go_on.set()
    stopping.join()
    assert q.get_job_ended(job.rid).result == "done"


@pytest.mark.parametrize("cancel_jobs", [False, True])
def test_stop_takes_back_what_does_not_end_in_time(q: Queuer, *, cancel_jobs: bool) -> None:
    entered = threading.Event()

    @q.task
    def endless() -> None:
        entered.set()
        while True:
            pass

    q.start()
    job = q.add_job(endless)
    entered.wait(5)
    q.stop(timeout=0.05, cancel_jobs=cancel_jobs)
    if cancel_jobs:
        cancelled = q.get_job_ended(job.rid)
        assert (cancelled.status, cancelled.error) == (JobStatus.CANCELLED, "JobCancelled: the worker stops")
    else:
        queued = q.get_job(job.rid)
        assert (queued.status, queued.attempts, queued.failures) == (JobStatus.QUEUED, 1, [])


def test_jobs_given_back_are_taken_by_another_worker_at_once(make_queuer: Any) -> None:
    first, second = make_queuer(), make_queuer()
    entered = threading.Event()

    def endless() -> None:
        entered.set()
        while True:
            pass

    first.add_task_with_name(endless, "task")
    second.add_task_with_name(lambda: "done", "task")
    first.start()
    job = first.add_job("task")
    entered.wait(5)
    with second:
        first.stop(timeout=0)
        done = second.wait_for_job_finished(job.rid, timeout_seconds=4)  # sooner than it would poll
    assert done is not None
    assert (done.result, done.attempts) == ("done", 2)


def test_a_process_that_ends_without_stop_gives_its_jobs_back(q: Queuer, config: DatabaseConfiguration) -> None:
    script = f"""
import threading
from queuer import DatabaseConfiguration, new_queuer_with_db
config = DatabaseConfiguration.from_url({config.url.render_as_string(hide_password=False)!r})
q = new_queuer_with_db("forgetful", 1, "", config)
entered = threading.Event()
@q.task
def endless():
    entered.set()
    while True:
        pass
q.start()
q.add_job(endless)
entered.wait(10)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    (job,) = q.get_jobs()
    assert (job.status, job.attempts) == (JobStatus.QUEUED, 1)


def test_starting_without_a_database_says_so_and_leaves_nothing(
    q: Queuer, config: DatabaseConfiguration, databases: Databases
) -> None:
    before = threading.active_count()
    q.stop()
    databases.execute(f"ALTER DATABASE {config.database} ALLOW_CONNECTIONS false")
    with pytest.raises(DatabaseUnavailable, match="not currently accepting connections"):
        q.start()
    databases.execute(f"ALTER DATABASE {config.database} ALLOW_CONNECTIONS true")
    assert threading.active_count() == before
    q.start()


def test_a_worker_survives_the_loss_of_all_its_connections(q: Queuer, engine: Engine) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @q.task
    def task() -> str:
        entered.set()
        go_on.wait(5)
        return "done"

    with q:
        job = q.add_job(task)
        entered.wait(5)
        with engine.begin() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend(pid) {OUR_CONNECTIONS}"))
        go_on.set()
        for rid in (job.rid, q.add_job(task).rid):
            done = q.wait_for_job_finished(rid, timeout_seconds=20)
            assert done is not None
            assert (done.result, done.attempts) == ("done", 1)
