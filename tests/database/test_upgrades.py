"""From one version to the next, while processes of both are there."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, inspect, text
from support.contract import eventually, line
from support.revisions import Version, newest

from queuer import DatabaseConfiguration, SchemaTooNew, new_static_queuer
from queuer.database import engines, migrate

pytestmark = pytest.mark.owner  # it makes tables next to the queue's

START = "new_static_queuer(config).stop(); say('done')"


@pytest.fixture
def version(tmp_path: Path) -> Version:
    return Version(tmp_path)


@contextmanager
def started(version: Version, config: DatabaseConfiguration, body: str = START) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-W", "error", "-c", version.script(config, body)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def upgrade_with(version: Version, engine: Engine, config: DatabaseConfiguration, mp: pytest.MonkeyPatch) -> None:
    with mp.context() as patched:
        patched.setattr(migrate, "folder", lambda: version.folder)
        migrate.upgrade(engine, config)


def revision_of(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT version_num FROM queuer_alembic_version"))


def test_a_newer_schema_that_says_it_is_compatible_is_accepted(
    version: Version, engine: Engine, config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    version.add("9001", "ALTER TABLE job ADD extra text", oldest_compatible=newest())
    upgrade_with(version, engine, config, monkeypatch)
    q = new_static_queuer(config)
    assert q.add_job("task").attempts == 0
    q.stop()
    assert revision_of(engine) == "9001"


def test_a_newer_schema_that_is_not_compatible_is_refused(
    version: Version, engine: Engine, config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    version.add("9001", oldest_compatible=newest())
    version.add("9002", oldest_compatible="9001")
    upgrade_with(version, engine, config, monkeypatch)
    with pytest.raises(SchemaTooNew, match="at revision 9002, which this queuer does not know .*works with 9002, 9001"):
        new_static_queuer(config)


def test_a_revision_that_says_nothing_is_compatible_with_nobody(
    version: Version, engine: Engine, config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    version.add("9001")
    upgrade_with(version, engine, config, monkeypatch)
    with pytest.raises(SchemaTooNew, match="works with 9001;"):
        new_static_queuer(config)


def waiting_for(connection: Connection, statement: str) -> int | None:
    """The process of the server that executes this and waits."""
    query = text("SELECT pid FROM pg_stat_activity WHERE query = :query AND wait_event_type = 'Lock'")
    return connection.scalar(query, {"query": statement})


LOCK = "SELECT pg_advisory_xact_lock(4242)"


@pytest.mark.parametrize("death", ["SIGKILL", "pg_terminate_backend"])
def test_a_migration_that_is_killed_half_way_leaves_nothing_and_is_repeated(
    version: Version, engine: Engine, config: DatabaseConfiguration, death: str
) -> None:
    half, rest = "CREATE TABLE half (id int)", "ALTER TABLE job ADD extra text"
    version.add("9001", half, LOCK, rest, oldest_compatible=newest())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as holder:
        holder.execute(text("SELECT pg_advisory_lock(4242)"))
        with started(version, config) as process:
            pid = eventually(lambda: waiting_for(holder, LOCK))
            if death == "SIGKILL":
                process.send_signal(signal.SIGKILL)
            else:
                holder.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            assert process.wait(timeout=10) != 0
        eventually(lambda: not waiting_for(holder, LOCK))  # the server has noticed, though the lock is still held
        assert not inspect(engine).has_table("half")
        assert revision_of(engine) == newest()
        holder.execute(text("SELECT pg_advisory_unlock(4242)"))
    with started(version, config) as process:
        assert line(process) == "done"
        assert process.wait(timeout=10) == 0
    assert inspect(engine).has_table("half")
    assert revision_of(engine) == "9001"


def test_a_migration_does_not_keep_others_from_a_table_while_it_waits_for_it(
    version: Version,
    engine: Engine,
    config: DatabaseConfiguration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody reads the table in a long transaction: whoever came after the migration would wait behind it."""
    version.add("9001", "ALTER TABLE job ADD extra text", oldest_compatible=newest())
    monkeypatch.setitem(migrate.SETTINGS, "lock_timeout", "50ms")
    ours = engines.create(config, application_name="migrates")
    with engine.connect() as reader, ThreadPoolExecutor(1) as pool:
        reader.execute(text("SELECT count(*) FROM job"))
        monkeypatch.setattr(migrate, "folder", lambda: version.folder)
        upgrading = pool.submit(migrate.upgrade, ours, config)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as writer:
            for _ in range(20):
                writer.execute(text("INSERT INTO job (task_name) VALUES ('task')"))
        assert not upgrading.done()
        reader.rollback()
        upgrading.result(timeout=20)
    ours.dispose()
    assert revision_of(engine) == "9001"


def test_many_processes_of_a_new_version_at_once(
    version: Version, engine: Engine, config: DatabaseConfiguration
) -> None:
    version.add("9001", "CREATE TABLE extra (id int)", oldest_compatible=newest())
    command = [sys.executable, "-W", "error", "-c", version.script(config, START)]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(8)]
    assert [process.wait(timeout=50) for process in processes] == [0] * 8
    assert revision_of(engine) == "9001"
