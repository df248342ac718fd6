"""A disk that is full, and a server that lets nobody in: the worker goes on when that is over."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from support.contract import Gate, ended

from queuer import DatabaseConfiguration, DatabaseUnavailable, JobStatus, Queuer

SMALL = "queuer_test_small"


@pytest.fixture
def execute(engine: Engine) -> Callable[[str], object]:
    def run(statement: str) -> object:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return connection.execute(text(statement))

    return run


@pytest.fixture
def small_disk(engine: Engine, execute: Callable[[str], object], tmp_path: Path) -> Iterator[None]:
    """The queue's tables lie on a disk of 4 MB."""
    with engine.connect() as connection:
        data = Path(connection.scalar(text("SHOW data_directory")) or "")
    with _mounted(tmp_path / "disk", data):
        execute(f"CREATE TABLESPACE {SMALL} LOCATION '{tmp_path / 'disk' / 'space'}'")
        try:
            for table in ("job", "job_archive"):
                execute(f"ALTER TABLE {table} SET TABLESPACE {SMALL}")
            yield
        finally:
            for table in ("job", "job_archive"):
                execute(f"ALTER TABLE {table} SET TABLESPACE pg_default")
            execute(f"DROP TABLESPACE {SMALL}")


@contextmanager
def _mounted(disk: Path, data: Path) -> Iterator[None]:
    disk.mkdir()
    if not data.is_dir():
        pytest.skip("the server runs elsewhere")
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    try:
        space = disk / "space"
        space.mkdir()
        for folder in (space, *(each for each in space.parents if each.owner() == space.owner() and each != Path("/"))):
            with suppress(PermissionError):
                folder.chmod(0o755)
        os.chown(space, data.stat().st_uid, data.stat().st_gid)
        yield
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_survived(q: Queuer, small_disk: None, execute: Callable[[str], object]) -> None:
    gate = Gate()
    q.add_task_with_name(gate, "gate")
    with q:
        job = q.add_job("gate")
        gate.wait_entered()
        execute(f"CREATE TABLE ballast (filler text) TABLESPACE {SMALL}")
        try:
            filling = "INSERT INTO ballast SELECT repeat(md5(n::text), 60) FROM generate_series(1, 20) n"
            with pytest.raises(OperationalError, match="No space left on device"):
                _for_ever(lambda: execute(filling))
            gate.go_on.set()  # its outcome finds no room in the archive
            assert q.wait_for_job_finished(job.rid, timeout_seconds=1) is None
            with pytest.raises(DatabaseUnavailable, match="No space left on device"):
                _for_ever(lambda: q.add_job("nobody's", "x" * 2000))
        finally:
            execute("DROP TABLE ballast")
        assert (ended(q, job, 30).status, ended(q, job).attempts) == (JobStatus.SUCCEEDED, 1)
        assert ended(q, q.add_job("gate"), 30).result == "done"


def _for_ever(do: Callable[[], object]) -> None:
    while True:
        do()


@pytest.fixture
def limited(config: DatabaseConfiguration, execute: Callable[[str], object]) -> Iterator[DatabaseConfiguration]:
    """The same database, for a user whose connections can be limited."""
    name = f"limited_{config.database}"
    execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}")
    yield replace(config, username=name, password="secret")
    execute(f"DROP OWNED BY {name}")
    execute(f"DROP ROLE {name}")


def test_too_many_connections_are_survived(
    make_queuer: Callable[..., Queuer], limited: DatabaseConfiguration, execute: Callable[[str], object]
) -> None:
    q = make_queuer(on=limited)
    gate = Gate()
    q.add_task_with_name(gate, "gate")
    with q:
        job = q.add_job("gate")
        gate.wait_entered()
        execute(f"ALTER ROLE {limited.username} CONNECTION LIMIT 0")
        execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{limited.username}'")
        gate.go_on.set()
        with pytest.raises(DatabaseUnavailable, match="too many connections for role"):
            q.add_job("gate")
        execute(f"ALTER ROLE {limited.username} CONNECTION LIMIT -1")
        assert (ended(q, job, 30).status, ended(q, job).attempts) == (JobStatus.SUCCEEDED, 1)
        assert ended(q, q.add_job("gate"), 30).result == "done"
