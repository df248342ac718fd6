"""A worker whose network lets it down, while another process reaches the database as ever."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from conftest import MakeQueuer
from support.contract import Gate, ended, eventually
from support.proxy import Proxy

from queuer import DatabaseConfiguration, JobStatus, Queuer, StaticQueuer, new_static_queuer
from queuer.database import listener, liveness
from queuer.worker import claimer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PATIENCE", 0.2)
    monkeypatch.setattr(liveness, "ANSWERS_WITHIN", 2)
    monkeypatch.setattr(listener, "QUIET", 0.2)
    monkeypatch.setattr(claimer, "POLL_INTERVAL", 3600)  # what it hears of is all that it learns


@pytest.fixture
def proxy(config: DatabaseConfiguration) -> Iterator[Proxy]:
    with closing(Proxy(config)) as proxy:
        yield proxy


@pytest.fixture
def outside(config: DatabaseConfiguration) -> Iterator[StaticQueuer]:
    outside = new_static_queuer(config)
    yield outside
    outside.stop()


@pytest.fixture
def worker(proxy: Proxy, make_queuer: MakeQueuer) -> Queuer:
    worker = make_queuer(on=proxy.config)
    worker.add_task_with_name(lambda: "done", "task")
    worker.start()
    return worker


def test_jobs_that_were_added_while_its_connections_were_half_open_are_run(
    proxy: Proxy, worker: Queuer, outside: StaticQueuer
) -> None:
    assert ended(outside, outside.add_job("task")).result == "done"
    proxy.forget()
    assert ended(outside, outside.add_job("task")).result == "done"


def test_jobs_that_were_added_while_its_connections_were_cut_are_run(
    proxy: Proxy, worker: Queuer, outside: StaticQueuer
) -> None:
    for _ in range(3):
        proxy.cut()
        assert ended(outside, outside.add_job("task")).result == "done"


#: Each claim waits, in the midst of it, as long as this session is there.
HOLD_UP = """
SELECT pg_advisory_lock(1);
CREATE FUNCTION hold_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_advisory_xact_lock(1);
    RETURN NEW;
END $$;
CREATE TRIGGER hold_up BEFORE UPDATE ON job FOR EACH ROW EXECUTE FUNCTION hold_up();
"""
WAITS = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND NOT granted"


@pytest.mark.owner
def test_a_job_whose_claim_got_no_answer_is_run_as_soon_as_the_network_is_back(
    proxy: Proxy, make_queuer: MakeQueuer, outside: StaticQueuer, config: DatabaseConfiguration
) -> None:
    """Long before the second of the beats that would show it: they come every 30 s."""
    gate, worker = Gate(), make_queuer(on=proxy.config, max_concurrency=1)
    worker.add_task_with_name(gate, "gate")
    worker.add_task_with_name(lambda: "done", "task")
    worker.start()
    outside.add_job("gate")
    gate.wait_entered()
    job = outside.add_job("task")
    options = config.connection_parameters
    with psycopg.connect(**options, autocommit=True) as holder:
        holder.execute(HOLD_UP)
        gate.go_on.set()
        eventually(lambda: holder.execute(WAITS).fetchone() is not None)
        proxy.lose_answers(True)
    eventually(lambda: outside.get_job(job.rid).status is JobStatus.RUNNING)
    proxy.lose_answers(False)
    done = ended(outside, job)
    assert (done.result, done.attempts, done.losses, done.failures) == ("done", 2, 0, [])


@pytest.mark.parametrize("is_cut_in_the_end", [False, True])
def test_an_outcome_that_could_not_be_written_is_written_when_the_network_is_back(
    proxy: Proxy, worker: Queuer, outside: StaticQueuer, is_cut_in_the_end: bool
) -> None:
    gate = Gate()
    worker.add_task_with_name(gate, "gate")
    running = outside.add_job("gate")
    gate.wait_entered()
    proxy.swallow(True)
    gate.go_on.set()
    added = outside.add_job("task")
    assert outside.wait_for_job_finished(running.rid, timeout_seconds=1) is None
    if is_cut_in_the_end:
        proxy.cut()
    proxy.swallow(False)
    done = ended(outside, running)
    assert (done.result, done.attempts) == ("done", 1)
    assert ended(outside, added).result == "done"
