"""Real processes on one database."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from support.contract import eventually

from queuer import BatchJob, DatabaseConfiguration, Queuer, WorkerStatus

JOBS = 2_000

WORKER = """
import os, signal, sys, threading
from queuer import DatabaseConfiguration, new_queuer_with_db
url, log = sys.argv[1:]
q = new_queuer_with_db("worker", 10, "", DatabaseConfiguration.from_url(url))
file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
@q.task
def note(n):
    os.write(file, b"%d\\n" % n)
@q.task
async def note_async(n):
    os.write(file, b"%d\\n" % n)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
with q:
    stop.wait()
"""


def start(config: DatabaseConfiguration, log: Path) -> "subprocess.Popen[bytes]":
    url = config.url.render_as_string(hide_password=False)
    return subprocess.Popen([sys.executable, "-c", WORKER, url, str(log)])


def test_two_processes_run_every_job_exactly_once(q: Queuer, config: DatabaseConfiguration, tmp_path: Path) -> None:
    logs = [tmp_path / "one", tmp_path / "two"]
    workers = [start(config, log) for log in logs]
    eventually(lambda: [worker.status for worker in q.get_workers()].count(WorkerStatus.RUNNING) == 2)
    rids = q.add_jobs(BatchJob("note" if n % 2 else "note_async", [n]) for n in range(JOBS))
    for rid in rids:
        job = q.wait_for_job_finished(rid, timeout_seconds=30)
        assert job is not None
        assert job.error is None
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=10) == 0
    runs = Counter(int(line) for log in logs for line in log.read_text().split())
    assert runs == Counter(range(JOBS))
    assert all(log.read_text() for log in logs), "both took part"
    assert q.get_jobs() == []


def test_a_stopped_process_hands_its_jobs_to_the_other(
    q: Queuer, config: DatabaseConfiguration, tmp_path: Path
) -> None:
    rids = q.add_jobs(BatchJob("note", [n]) for n in range(JOBS))
    first = start(config, tmp_path / "one")
    q.wait_for_job_finished(rids[10], timeout_seconds=30)
    second = start(config, tmp_path / "two")
    os.kill(first.pid, signal.SIGTERM)
    assert first.wait(timeout=10) == 0
    assert q.wait_for_job_finished(rids[-1], timeout_seconds=30) is not None
    second.send_signal(signal.SIGTERM)
    assert second.wait(timeout=10) == 0
    assert q.get_jobs() == []
