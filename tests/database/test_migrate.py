import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, inspect, text

from queuer import ConfigurationError, DatabaseConfiguration, DatabaseUnavailable, SchemaTooNew, new_queuer_with_db
from queuer.database import engines, migrate
from queuer.database.engines import check_server
from queuer.models import Base

TABLES = {"job", "job_archive", "worker", "master", "queuer_alembic_version"}


def url_of(config: DatabaseConfiguration) -> str:
    return config.url.render_as_string(hide_password=False)


@pytest.fixture
def empty_engine(empty_config: DatabaseConfiguration) -> Iterator[Engine]:
    engine = engines.create(empty_config, application_name="tests")
    yield engine
    engine.dispose()


def alembic(root: Path, config: DatabaseConfiguration, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command line, as a user types it at the checkout's root."""
    given = ["-x", f"url={url_of(config)}", "-x", f"schema={config.schema}"]
    return subprocess.run(
        [sys.executable, "-m", "alembic", *given, *arguments], cwd=root, capture_output=True, text=True, check=False
    )


def test_an_empty_database_gets_the_tables(empty_engine: Engine, empty_config: DatabaseConfiguration) -> None:
    migrate.upgrade(empty_engine, empty_config)
    assert set(inspect(empty_engine).get_table_names("public")) == TABLES
    migrate.upgrade(empty_engine, empty_config)  # and a second time does nothing


def test_who_finds_the_tables_ready_loads_nothing_that_migrates(config: DatabaseConfiguration) -> None:
    program = f"""
import sys
from queuer import DatabaseConfiguration, new_queuer_with_db
q = new_queuer_with_db("worker", 1, "", DatabaseConfiguration.from_url({url_of(config)!r}, schema={config.schema!r}))
q.start()
q.stop()
sys.exit(" ".join({{"alembic", "mako"}} & set(sys.modules)) or None)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line_migrates_checks_and_goes_down_again(root: Path, empty_config: DatabaseConfiguration) -> None:
    for arguments in (["upgrade", "head"], ["check"], ["downgrade", "base"], ["upgrade", "head"]):
        done = alembic(root, empty_config, *arguments)
        assert done.returncode == 0, done.stderr
    assert "No new upgrade operations detected" in alembic(root, empty_config, "check").stdout


def test_every_revision_goes_down_and_up_and_leaves_nothing(
    root: Path, empty_engine: Engine, empty_config: DatabaseConfiguration
) -> None:
    config = Config()
    config.set_main_option("script_location", str(root / "alembic"))
    with empty_engine.begin() as connection:
        config.attributes["target"] = migrate.Target(connection, "public", with_timescale=None)
        command.upgrade(config, "head")
        command.downgrade(config, "base")
        assert inspect(connection).get_table_names("public") == ["queuer_alembic_version"]
        ours = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'queuer%'"
        assert connection.scalar(text(ours)) == 0
        command.upgrade(config, "head")


def test_what_of_an_application_refers_to_jobs_keeps_the_primary_key_from_changing(
    root: Path, empty_engine: Engine, empty_config: DatabaseConfiguration
) -> None:
    """PostgreSQL itself would advise to drop the application's foreign key along with ours."""
    config = Config()
    config.set_main_option("script_location", str(root / "alembic"))
    with empty_engine.begin() as connection:
        config.attributes["target"] = migrate.Target(connection, "public", with_timescale=None)
        command.upgrade(config, "0004")
        connection.execute(text("CREATE TABLE one (job bigint CONSTRAINT of_id REFERENCES job ON DELETE SET NULL)"))
        with pytest.raises(ConfigurationError, match="'of_id' of table one refers to the column id .* 0005 on; drop"):
            command.upgrade(config, "0005")
        connection.execute(text("ALTER TABLE one DROP CONSTRAINT of_id"))
        connection.execute(text("CREATE TABLE other (job uuid CONSTRAINT of_rid REFERENCES job (rid))"))
        command.upgrade(config, "0005")
        connection.execute(text("INSERT INTO job (task_name) VALUES ('task')"))
        connection.execute(text("INSERT INTO other SELECT rid FROM job"))
        with pytest.raises(ConfigurationError, match="'of_rid' of table other refers to the column rid .* no primary"):
            command.downgrade(config, "0004")
        connection.execute(text("ALTER TABLE other DROP CONSTRAINT of_rid"))
        command.downgrade(config, "0004")


def test_the_environment_says_where(
    root: Path, empty_engine: Engine, empty_config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUER_DB_HOST", empty_config.host)
    monkeypatch.setenv("QUEUER_DB_PORT", str(empty_config.port))
    monkeypatch.setenv("QUEUER_DB_DATABASE", empty_config.database)
    monkeypatch.setenv("QUEUER_DB_USERNAME", empty_config.username)
    monkeypatch.setenv("QUEUER_DB_PASSWORD", empty_config.password)
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=root, check=True, capture_output=True)
    assert set(inspect(empty_engine).get_table_names("public")) == TABLES


def test_offline_sql_makes_the_same_tables(
    root: Path, empty_engine: Engine, empty_config: DatabaseConfiguration
) -> None:
    script = alembic(root, empty_config, "upgrade", "head", "--sql")
    assert script.returncode == 0, script.stderr
    with empty_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(script.stdout.replace("%", "%%"))
    assert alembic(root, empty_config, "check").returncode == 0


def test_twenty_processes_at_once_on_an_empty_database(empty_config: DatabaseConfiguration) -> None:
    script = f"""
from queuer import DatabaseConfiguration, new_queuer_with_db
new_queuer_with_db("w", 1, "", DatabaseConfiguration.from_url({url_of(empty_config)!r})).stop()
"""
    processes = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True) for _ in range(20)]
    errors = [process.communicate(timeout=50)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 20, errors


def test_a_schema_of_ones_own_is_created_and_left_alone_by_others(
    empty_engine: Engine, empty_config: DatabaseConfiguration, root: Path
) -> None:
    odd = replace(empty_config, schema='weird"schema; -- %s :x')
    first, second = new_queuer_with_db("first", 1, "", odd), new_queuer_with_db("second", 1, "", empty_config)
    try:
        job = first.add_job("task", 1)
        assert first.get_jobs() != []
        assert second.get_jobs() == []
        assert first.get_job(job.rid).parameters == [1]
        assert first.add_jobs([]) == []
    finally:
        first.stop()
        second.stop()

    def names(schema: str) -> list[str]:
        return inspect(empty_engine).get_table_names(schema)

    assert set(names("public")) == set(names(odd.schema)) == TABLES
    assert alembic(root, odd, "check").returncode == 0
    assert alembic(root, odd, "downgrade", "base").returncode == 0
    assert set(names("public")) == TABLES
    assert names(odd.schema) == ["queuer_alembic_version"]


def test_a_database_of_a_newer_queuer_is_refused(engine: Engine, config: DatabaseConfiguration) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE queuer_alembic_version SET version_num = '9999'"))
    with pytest.raises(
        SchemaTooNew, match="schema 'public' is at revision 9999, which this queuer does not know.*upgrade"
    ):
        new_queuer_with_db("test", 1, "", config)


def test_tables_of_others_in_the_schema_are_no_drift(root: Path, engine: Engine, config: DatabaseConfiguration) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE account (id int PRIMARY KEY)"))
    assert alembic(root, config, "check").returncode == 0


def test_a_server_that_is_too_old_is_refused(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(ConfigurationError, match=r"PostgreSQL \d\d.*needs 99 or newer"):
        check_server(connection, oldest=990_000)


def test_timescale_that_is_required_but_not_offered_is_an_error(
    empty_engine: Engine, empty_config: DatabaseConfiguration
) -> None:
    with empty_engine.connect() as connection:
        offered = connection.scalar(text("SELECT count(*) FROM pg_available_extensions WHERE name = 'timescaledb'"))
    if offered:
        pytest.skip("this server offers it")
    with pytest.raises(ConfigurationError, match="with_timescale is True, but the server does not offer TimescaleDB"):
        new_queuer_with_db("test", 1, "", replace(empty_config, with_timescale=True))
    assert inspect(empty_engine).get_table_names("public") == []


def test_every_table_of_the_models_is_migrated() -> None:
    assert set(Base.metadata.tables) == TABLES - {"queuer_alembic_version"}


def test_an_unreachable_server_is_said_with_its_address_and_without_the_password() -> None:
    nowhere = DatabaseConfiguration(host="127.0.0.1", port=1, database="app", username="me", password="hunter2")
    with pytest.raises(DatabaseUnavailable, match=r"host 127.0.0.1, port 1, database 'app' as 'me': ") as caught:
        new_queuer_with_db("test", 1, "", nowhere)
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


def test_a_database_that_does_not_exist_is_unavailable(config: DatabaseConfiguration) -> None:
    with pytest.raises(DatabaseUnavailable, match="database 'nowhere'.*does not exist"):
        new_queuer_with_db("test", 1, "", replace(config, database="nowhere"))


def test_a_schema_with_tables_of_another_is_refused(empty_engine: Engine, empty_config: DatabaseConfiguration) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE TABLE job (id int)"))
    with pytest.raises(ConfigurationError, match="schema 'public' has tables of another application.*QUEUER_DB_SCHEMA"):
        new_queuer_with_db("test", 1, "", empty_config)


def test_a_user_who_may_not_create_tables_is_told_what_to_grant(
    empty_engine: Engine, empty_config: DatabaseConfiguration
) -> None:
    role = f"queuer_{empty_config.database}"
    with empty_engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'with space'"))
    try:
        with pytest.raises(ConfigurationError, match=f"user '{role}' may not make the queue's tables.*grant it CREATE"):
            new_queuer_with_db("test", 1, "", replace(empty_config, username=role, password="with space"))
    finally:
        with empty_engine.begin() as connection:
            connection.execute(text(f"DROP ROLE {role}"))
