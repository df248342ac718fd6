"""`stop` returns in bounded time, whatever the database is up to."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from time import monotonic
from typing import Any

import psycopg
import pytest
from support.contract import Gate, ended, eventually
from support.proxy import Proxy

from queuer import DatabaseConfiguration, JobStatus, MasterSettings, Queuer, WorkerStatus
from queuer.database.engines import LIVENESS

SMALL = MasterSettings(worker_stale_after=1, master_poll_interval=0.1, lock_timeout_minutes=0.01)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("queuer.supervisor.GRACE", 0.5)
    monkeypatch.setitem(LIVENESS, "connect_timeout", 2)


def stop(q: Queuer) -> None:
    """Stops it within the seconds that interrupted tasks get, and outcomes that can't be written, and a few more."""
    begun_at = monotonic()
    q.stop(timeout=0)
    assert monotonic() - begun_at < 30
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("queuer")] == []


@pytest.mark.owner
def test_while_all_jobs_are_locked(q: Queuer, make_queuer: Any, config: DatabaseConfiguration) -> None:
    """As by a migration. What can't be written runs again: at least once, not at most."""
    gate, other = Gate(), make_queuer()
    q.add_task_with_name(gate, "task")
    q.start(SMALL)
    job = q.add_job("task")
    gate.wait_entered()
    options = config.connection_parameters
    with psycopg.connect(**options) as migration, psycopg.connect(**options, autocommit=True) as look:
        migration.execute("LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        gate.go_on.set()
        waiting = "SELECT count(*) >= 3 FROM pg_locks WHERE NOT granted"  # claimer, reporter, heartbeat or master
        eventually(lambda: look.execute(waiting).fetchone() == (True,))
        stop(q)
        migration.rollback()
    other.add_task_with_name(lambda: "again", "task")
    other.start(SMALL)
    done = ended(other, job, timeout=20)
    assert (done.result, done.attempts) == ("again", 2)
    assert other.get_worker(q.get_current_worker_rid()).status is WorkerStatus.STOPPED


def test_while_nothing_arrives_and_nothing_is_closed(make_queuer: Any, config: DatabaseConfiguration) -> None:
    """A peer that acknowledges, and says nothing: no keepalive notices that."""
    with closing(Proxy(config)) as proxy:
        q, other, gate = make_queuer(on=proxy.config), make_queuer(), Gate()
        q.add_task_with_name(gate, "task")
        q.start(SMALL)
        job = other.add_job("task")
        gate.wait_entered()
        proxy.swallow(True)
        gate.go_on.set()
        stop(q)
    other.add_task_with_name(lambda: "again", "task")
    other.start(SMALL)
    done = ended(other, job, timeout=20)
    assert (done.result, done.attempts) in {("again", 2), ("done", 1)}


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Lets SIGINT raise KeyboardInterrupt, also where the tests were started in the background, which ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_it_waits_loses_no_job(q: Queuer) -> None:
    """Outside `run()`, which takes the signal, it ends the waiting: what still runs has not succeeded."""
    gate = Gate()
    q.add_task_with_name(gate, "task")
    q.start()
    job = q.add_job("task")
    gate.wait_entered()

    def press() -> None:
        eventually(lambda: "queuer claimer" not in [thread.name for thread in threading.enumerate()])
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        q.stop(timeout=60)
    pressing.join()
    assert (found := q.get_job(job.rid)).status is JobStatus.QUEUED, found
    eventually(lambda: "queuer task 1" not in [thread.name for thread in threading.enumerate()])
