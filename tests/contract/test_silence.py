"""When silence means death, and when it does not: rescue and its limits, with locks, pauses and restarts in earnest."""

import logging
import signal
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from support.contract import Gate, ended, eventually, line, process
from support.own_server import running

from queuer import (
    DatabaseConfiguration,
    JobStatus,
    MasterSettings,
    Options,
    Queuer,
    Schedule,
    WorkerStatus,
    new_queuer_with_db,
)

#: Everything happens soon. A worker that says nothing for 1.5 s is dead.
SMALL = MasterSettings(worker_stale_after=1.5, master_poll_interval=0.05, lock_timeout_minutes=0.02)

PAUSED = """
q = new_queuer_with_db("paused", 1, "", config)
@q.task
def task():
    say("entered")
    sys.stdin.readline()
    say("leaves")
    return "too late"
q.start()
signal.pause()
"""


def connect(config: DatabaseConfiguration) -> psycopg.Connection:
    return psycopg.connect(**config.connection_parameters)


def silent_for(connection: psycopg.Connection, rid: UUID) -> float:
    """Seconds since the worker's last heartbeat."""
    query = "SELECT extract(epoch FROM clock_timestamp() - heartbeat_at) FROM worker WHERE rid = %s"
    with connection.transaction():
        (seconds,) = connection.execute(query, [rid]).fetchone() or (0.0,)
    return float(seconds)


def test_a_paused_process_loses_its_job_drops_what_it_comes_to_and_goes_on(
    q: Queuer, config: DatabaseConfiguration
) -> None:
    q.start_without_worker(SMALL)
    eventually(lambda: q.get_master().worker_rid == q.get_current_worker_rid())
    with process(config, PAUSED) as child:
        job = q.add_job("task")
        assert line(child) == "entered"
        paused = q.get_job(job.rid).worker_rid
        assert paused is not None
        child.send_signal(signal.SIGSTOP)
        lost = eventually(lambda: found if (found := q.get_job(job.rid)).status is JobStatus.QUEUED else None, 30)
        assert (lost.attempts, lost.losses, lost.worker_rid) == (1, 1, None)
        assert q.get_worker(paused).status is WorkerStatus.STOPPED
        assert child.stdin is not None
        child.stdin.write("\n\n")
        child.stdin.flush()
        child.send_signal(signal.SIGCONT)
        done = ended(q, job, timeout=20)
        assert eventually(lambda: q.get_worker(paused).status is WorkerStatus.RUNNING)
    # By the only worker there is, in another attempt: that under which it was lost counts no more.
    assert (done.result, done.attempts, done.losses, done.failures) == ("too late", 2, 1, [])


@pytest.mark.owner
def test_a_row_that_an_open_transaction_holds_blocks_the_rescue_of_no_other(
    q: Queuer, config: DatabaseConfiguration
) -> None:
    held, free = q.add_job("nobody has it"), q.add_job("nobody has it")
    with connect(config) as lost, connect(config) as paused:
        lost.execute("UPDATE job SET status = 'RUNNING', worker_rid = gen_random_uuid(), attempts = 1")
        lost.commit()
        paused.execute("SELECT FROM job WHERE id = %s FOR UPDATE", [held.id])
        q.start_without_worker(SMALL)
        eventually(lambda: q.get_job(free.rid).status is JobStatus.QUEUED, timeout=30)
        assert q.get_job(held.rid).status is JobStatus.RUNNING
        paused.rollback()
        eventually(lambda: q.get_job(held.rid).status is JobStatus.QUEUED)


@pytest.mark.owner
def test_nobody_is_called_silent_because_all_wait_for_a_lock(
    make_queuer: Any, config: DatabaseConfiguration, caplog: pytest.LogCaptureFixture
) -> None:
    """As a migration takes it: what a worker runs can't be looked at, so that no worker beats."""
    master, worker, gate = make_queuer(), make_queuer(), Gate()
    worker.add_task_with_name(gate, "task")
    master.start_without_worker(SMALL)
    worker.start()
    job = master.add_job("task")
    gate.wait_entered()
    rid = worker.get_current_worker_rid()
    with connect(config) as migration, connect(config) as look, caplog.at_level(logging.WARNING, logger="queuer"):
        migration.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        eventually(lambda: silent_for(look, rid) > 3)
        migration.rollback()
        gate.go_on.set()
        done = ended(worker, job)
    assert (done.attempts, done.losses) == (1, 0)
    assert "has been silent" not in caplog.text


def test_nobody_is_called_silent_after_the_server_was_away(caplog: pytest.LogCaptureFixture) -> None:
    """Not even a worker that comes back later than the master: it gets its time to be heard."""
    settings = MasterSettings(worker_stale_after=5, master_poll_interval=0.05, lock_timeout_minutes=0.02)
    with ExitStack() as stack:
        server = stack.enter_context(running())
        q = new_queuer_with_db("master", 1, "", server.config)
        stack.callback(q.stop, timeout=0)
        q.start_without_worker(settings)
        child = stack.enter_context(process(server.config, PAUSED))
        job = q.add_job("task")
        assert line(child) == "entered"
        worker = q.get_job(job.rid).worker_rid
        child.send_signal(signal.SIGSTOP)
        server.stop()
        server.start()
        # As if it had been away for long, although both try again soon.
        server.execute(f"UPDATE worker SET heartbeat_at = now() - interval '1 hour' WHERE rid = '{worker}'")
        rounds = "SELECT heartbeat_at > pg_postmaster_start_time() + interval '1 second' FROM master"
        eventually(lambda: server.execute(rounds) == [(True,)], timeout=30)
        child.send_signal(signal.SIGCONT)
        heard = f"SELECT heartbeat_at > now() - interval '1 minute' FROM worker WHERE rid = '{worker}'"
        eventually(lambda: server.execute(heard) == [(True,)])
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
        done = ended(q, job, timeout=30)
    assert (done.result, done.attempts, done.losses) == ("too late", 1, 0)
    assert "has been silent" not in caplog.text


@pytest.mark.owner
def test_a_master_beats_while_what_it_deletes_is_locked(q: Queuer, config: DatabaseConfiguration) -> None:
    insert = """INSERT INTO job_archive (id, rid, status, task_name, ended_at)
        VALUES (1, gen_random_uuid(), 'SUCCEEDED', 'task', now() - interval '9 days')"""
    with connect(config) as holder, connect(config) as look:
        holder.execute(insert)
        holder.commit()
        holder.execute("LOCK TABLE job_archive IN EXCLUSIVE MODE")
        q.start_without_worker(SMALL)
        rid = q.get_current_worker_rid()
        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        with look.transaction():
            eventually(lambda: look.execute(blocked).fetchone() == (1,))
        before = q.get_worker(rid).heartbeat_at
        eventually(lambda: q.get_worker(rid).heartbeat_at > before + timedelta(seconds=1))
        holder.rollback()


STOPS_BEFORE_IT_COMMITS = """
from sqlalchemy import Engine, event
from queuer.repositories import idleness
idleness.LONGEST_IDLE = 0.5
q = new_queuer_with_db("paused", 1, "", config)
def stop_once(connection):
    event.remove(Engine, "commit", stop_once)
    say("stops")
    os.kill(os.getpid(), signal.SIGSTOP)
event.listen(Engine, "commit", stop_once)
q.start({settings!r})
signal.pause()
"""


def test_a_master_that_is_paused_in_its_transaction_blocks_nobody(q: Queuer, config: DatabaseConfiguration) -> None:
    with process(config, STOPS_BEFORE_IT_COMMITS.format(settings=SMALL)) as child:
        assert line(child) == "stops"
        q.start_without_worker(SMALL)
        eventually(lambda: q.get_master().worker_rid == q.get_current_worker_rid(), timeout=30)
        child.kill()


@pytest.mark.owner
def test_a_cancelled_job_under_which_too_many_workers_died_ends_cancelled(
    q: Queuer, config: DatabaseConfiguration
) -> None:
    every_hour = Options(schedule=Schedule(max_count=0, interval=timedelta(hours=1)))
    job = q.add_job_with_options(every_hour, "nobody has it")
    with connect(config) as lost:
        lost.execute("UPDATE job SET status = 'RUNNING', worker_rid = gen_random_uuid(), attempts = 4, losses = 3")
    assert q.cancel_job(job.rid).status is JobStatus.RUNNING
    q.start_without_worker(SMALL)
    done = ended(q, job)
    assert (done.status, done.losses) == (JobStatus.CANCELLED, 4)
    assert done.error == "JobCancelled: the job was cancelled while it ran, and its worker was lost or stopped"
    assert q.get_jobs() == []
