"""What the checker is given is what is in the tables and the journals; plans are the same for the same seed."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import psycopg
import pytest

from chaos import logs
from chaos.facts import Dropped, Promise, Run, gather
from chaos.faults import FAULTS
from chaos.journal import Journal
from chaos.orders import Book, Order
from chaos.plan import LASTING, draw
from queuer import DatabaseConfiguration, Queuer

RID = "5e3c9e1e-8b5b-4b7e-9a4b-0d6f5b1f9d11"


def test_a_plan_is_the_same_for_the_same_seed_and_leaves_no_kind_out() -> None:
    assert draw(7, 300) == draw(7, 300)
    assert draw(7, 300) != draw(8, 300)
    assert {step.kind for step in draw(7, 300)} == set(LASTING) == set(FAULTS)
    assert all(step.at > 0 and step.at + step.seconds <= 300.001 for step in draw(7, 300))


def test_orders_are_the_same_for_the_same_seed() -> None:
    first, second = Book(Random("7")), Book(Random("7"))
    assert [first.next() for _ in range(100)] == [second.next() for _ in range(100)]


def connected(config: DatabaseConfiguration) -> psycopg.Connection:
    connection = psycopg.connect(**config.connection_parameters)
    connection.execute("CREATE TEMPORARY TABLE ledger AS SELECT 'a token' AS token")
    return connection


@pytest.mark.owner
def test_the_tables_are_read_as_they_are(q: Queuer, config: DatabaseConfiguration, tmp_path: Path) -> None:
    q.add_task_with_name(lambda token: token, "task")
    job = q.add_job("task", "a token")
    waiting = q.add_job("unknown", "another")
    with q:
        assert q.wait_for_job_finished(job.rid, 10) is not None
    with connected(config) as connection:
        facts = gather(connection, tmp_path)
    assert facts.effects == ["a token"]
    (ended,) = facts.archive
    (live,) = facts.live
    (worker,) = facts.workers
    assert (ended.rid, ended.token, ended.status, ended.attempts) == (str(job.rid), "a token", "SUCCEEDED", 1)
    assert (ended.worker_rid, ended.results, ended.failures) == (worker["rid"], ["a token"], [])
    assert (live.rid, live.token, live.status) == (str(waiting.rid), "another", "QUEUED")
    assert (worker["status"], worker["is_past"], facts.master) == ("STOPPED", True, None)


@pytest.mark.owner
def test_the_journals_are_read_as_they_are(q: Queuer, config: DatabaseConfiguration, tmp_path: Path) -> None:
    order = Order("kind", "task").to_json()
    producers, tasks = Journal(tmp_path, "producers"), Journal(tmp_path, "tasks")
    for token in ("added", "raised"):
        producers.write("adding", token=token, order=order)
    producers.write("added", token="added", rid=RID)
    producers.write("raised", token="raised", error="away")
    producers.write("cancelling", rid=RID)
    for attempt in (1, 2):
        tasks.write("begun", rid=RID, attempt=attempt, token="added")
    tasks.write("ended", rid=RID, attempt=2, token="added", how="returned")
    with connected(config) as connection:
        facts = gather(connection, tmp_path)
    assert [(each.token, each.rid) for each in facts.promises] == [("added", RID), ("raised", None)]
    assert isinstance(facts.promises[0], Promise)
    assert facts.cancelled == {RID}
    first, second = facts.runs
    assert isinstance(first, Run)
    assert (first.attempt, first.how, first.ended_at) == (1, None, None)
    assert (second.attempt, second.how, second.pid) == (2, "returned", os.getpid())
    assert second.ended_at is not None
    assert second.begun_at <= second.ended_at


def test_the_logs_are_searched_for_what_no_fault_excuses(tmp_path: Path) -> None:
    Journal(tmp_path, "workers").write("made", rid="a worker")
    Journal(tmp_path, "workers").write("stopped", rid="a worker", threads=["queuer claimer"])
    conductor = Journal(tmp_path, "conductor")
    conductor.write("gone", who=1, role="worker", code=-9, is_expected=True)
    conductor.write("gone", who=2, role="worker", code=1, is_expected=False)
    conductor.write("hangs", who=3, role="worker", seconds=60)
    conductor.write("failed", kind="cut", error="no")
    (tmp_path / f"log-{os.getpid()}.txt").write_text(
        f"1.0 WARNING claimer: dropped the outcome RETRY of job {RID}, attempt 3: the job is no longer this worker's\n"
        "2.0 WARNING claimer: tries again\n"
        "3.0 ERROR claimer: failed\nTraceback (most recent call last):\n"
        "4.0 ERROR claimer: failed\n"
    )
    assert logs.dropped(tmp_path) == [Dropped("RETRY", RID, 3, "a worker")]
    assert logs.trouble(tmp_path) == [
        "the worker 2 ended with code 1",
        "the worker 3 did not stop within 60 s",
        "the fault cut itself failed: no",
        f"worker {os.getpid()} has stopped, and left the threads queuer claimer",
        f"log-{os.getpid()}.txt: ERROR claimer: failed (2 times)",
    ]


@pytest.mark.parametrize("module", ["checker", "facts", "logs", "journal"])
def test_the_checker_imports_nothing_of_queuer(module: str, root: Path) -> None:
    code = f"import sys, chaos.{module}; sys.exit('queuer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root / "tests", check=False).returncode == 0
