"""Workers of two versions on one database, while it goes from the one's schema to the other's."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
from conftest import MakeQueuer
from support.contract import ended, eventually, line
from support.revisions import Version, newest

from queuer import BatchJob, DatabaseConfiguration, OnError, Options, Queuer, Schedule, WorkerStatus

pytestmark = pytest.mark.owner  # it makes tables next to the queue's

WORKER = """
import os
file = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
q = new_queuer_with_db("worker", 5, "", config)
@q.task
def note(n):
    os.write(file, b"%d\\n" % n)
@q.task
def hold():
    say("holds")
    while True:
        pass
@q.task
def fail_once():
    if current_job().attempt == 1:
        raise ValueError
q.start({settings})
say(q.get_current_worker_rid())
q.run()
say("stopped")
"""
QUICK = "MasterSettings(worker_stale_after=1, master_poll_interval=0.2)"

#: The first version that workers of the newest one have to share a database with.
OLD = "c18c0d3"


@contextmanager
def worker(program: str, python_path: Path | None = None) -> Iterator["subprocess.Popen[str]"]:
    """A worker that has started, and has not said its rid yet."""
    environ = os.environ | ({"PYTHONPATH": str(python_path)} if python_path else {})
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environ) as process:
        try:
            yield process
            process.terminate()
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()


def add(q: Queuer, numbers: range) -> None:
    q.add_jobs(BatchJob("note", [n]) for n in numbers)


def runs(*logs: Path) -> list[int]:
    return sorted(int(n) for log in logs if log.exists() for n in log.read_text().split())


def count(log: Path) -> int:
    return len(runs(log))


def test_workers_of_two_versions_share_the_jobs_through_an_upgrade(
    q: Queuer, config: DatabaseConfiguration, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    present, future = Version(tmp_path / "present"), Version(tmp_path / "future")
    future.add(
        "9001",
        "ALTER TABLE job ADD extra text",
        "ALTER TABLE job_archive ADD extra text DEFAULT 'x'",
        "CREATE INDEX ix_extra ON job (extra)",
        oldest_compatible=newest(),
    )
    with worker(present.script(config, WORKER.format(log=str(old), settings=QUICK))) as first:
        line(first)
        add(q, range(3000))
        eventually(lambda: count(old) > 100)
        with worker(future.script(config, WORKER.format(log=str(new), settings=""))) as second:
            line(second)
            before = count(old)
            add(q, range(3000, 6000))
            eventually(lambda: count(old) > before + 50 and count(new) > 50, timeout=30)
            eventually(lambda: q.get_jobs() == [], timeout=40)
    # On a busy machine a worker may be silent for longer than its one second, and its jobs run again.
    assert set(runs(old, new)) == set(range(6000))


def test_a_worker_stops_when_its_schema_is_gone_and_gives_nothing_up(
    q: Queuer, config: DatabaseConfiguration, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    present, future = Version(tmp_path / "present"), Version(tmp_path / "future")
    future.add("9001", oldest_compatible="9001")
    with worker(present.script(config, WORKER.format(log=str(old), settings=QUICK))) as first:
        rid = line(first)
        with worker(future.script(config, WORKER.format(log=str(new), settings=""))) as second:
            line(second)
            assert (line(first), first.wait(timeout=20)) == ("stopped", 0)
            assert q.get_worker(rid).status is WorkerStatus.STOPPED
            add(q, range(100))
            eventually(lambda: runs(new) == list(range(100)))


@pytest.fixture
def old_code(root: Path, tmp_path: Path) -> Path:
    """The code of the oldest version that the newest schema is to work with."""
    if shutil.which("git") is None:
        pytest.skip("no git, with which to get it")
    archive = subprocess.run(["git", "archive", OLD, "queuer", "alembic"], cwd=root, check=False, capture_output=True)
    if archive.returncode != 0:
        pytest.skip(f"the code of {OLD} is in no history here: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


def test_a_worker_of_the_oldest_version_works_on_the_newest_schema(
    old_code: Path, empty_config: DatabaseConfiguration, make_queuer: MakeQueuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has made the tables itself, and knows nothing of what has been added since."""
    for name in ("HOST", "PORT", "DATABASE", "USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"QUEUER_DB_{name}", str(getattr(empty_config, name.lower())))
    log = old_code / "log"
    head = """
from queuer import *
config = DatabaseConfiguration.from_env()
def say(text):
    print(text, flush=True)
"""
    with worker(head + WORKER.format(log=str(log), settings=QUICK), old_code) as old:
        rid = line(old)
        new = make_queuer(on=empty_config)  # brings the schema to the newest revision
        add(new, range(500))
        eventually(lambda: new.get_jobs() == [], timeout=20)
        assert {job.worker_rid for job in new.get_jobs_ended(entries=500)} == {UUID(rid)}
        new.add_task_with_name(lambda _n: None, "note")
        new.start()
        both = {UUID(rid), new.get_current_worker_rid()}

        def have_shared_a_thousand_more() -> bool:  # one may be late, and the other be done before
            add(new, range(500, 1500))
            eventually(lambda: new.get_jobs() == [], timeout=20)
            return {job.worker_rid for job in new.get_jobs_ended(entries=1000)} == both

        eventually(have_shared_a_thousand_more, timeout=40)
        hold = [new.add_job("hold"), new.add_job_with_options(Options(schedule=Schedule(max_count=1)), "hold")]
        again = new.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=0)), "fail_once")
        assert ended(new, again).attempts == 2
        assert sorted([line(old), line(old)]) == ["holds", "holds"]
        new.stop_worker(rid)  # which gives back what it runs
        new.add_task_with_name(lambda: "done", "hold")
        assert [ended(new, job).result for job in hold] == ["done", "done"]
        assert (line(old), old.wait(timeout=20)) == ("stopped", 0)
