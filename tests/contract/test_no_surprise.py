"""Hostile names and texts: nothing of them is run, imported or believed, and secrets are not shown."""

import logging
from datetime import datetime

import pytest
from conftest import MakeQueuer
from sqlalchemy import Engine, text
from support.contract import ended, eventually
from support.keys import SECRET

from queuer import DatabaseConfiguration, Options, Queuer, Schedule

FORGED = "harmless\n1970-01-01 ERROR forged\x1b[2J"


def test_a_task_is_looked_up_and_never_imported(q: Queuer, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("""INSERT INTO job (task_name, parameters) VALUES
            ('os.system', '["echo run"]'), ('builtins.eval', '["1 + 1"]'), ('queuer.context:current_job', '[]')""")
    q.add_task(len)
    with q:
        ended(q, q.add_job(len, "word"))
        assert [job.attempts for job in q.get_jobs()] == [0, 0, 0]


def test_no_line_of_the_log_can_be_forged(make_queuer: MakeQueuer, caplog: pytest.LogCaptureFixture) -> None:
    q = make_queuer()

    def forging(_planned_at: datetime, _count: int) -> datetime:
        raise ValueError(FORGED)

    q.add_task_with_name(lambda: None, FORGED)
    q.add_next_interval_func(forging)
    with caplog.at_level(logging.DEBUG, logger="queuer"), q:
        schedule = Schedule(max_count=2, next_interval="forging")
        ended(q, q.add_job_with_options(Options(schedule=schedule), FORGED))
        eventually(lambda: q.get_jobs_ended() and "ends: " in caplog.text)
    lines = [record.getMessage() for record in caplog.records]
    assert any("forged" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_the_functions_of_the_schema_have_a_search_path_of_their_own(engine: Engine) -> None:
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
        )
        ours = {name: settings for name, settings in rows if name.startswith("queuer")}
    assert ours
    assert all(settings == ["search_path=pg_catalog"] for settings in ours.values())


def test_tables_that_the_search_path_finds_first_are_left_alone(
    config: DatabaseConfiguration, engine: Engine, make_queuer: MakeQueuer
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA evil")
        for table in ("job", "job_archive", "worker", "master", "queuer_alembic_version"):
            connection.exec_driver_sql(f"CREATE TABLE evil.{table} (LIKE public.{table})")
        connection.exec_driver_sql("GRANT ALL ON SCHEMA evil TO public")
        connection.exec_driver_sql("GRANT ALL ON ALL TABLES IN SCHEMA evil TO public")
        connection.exec_driver_sql(f"ALTER DATABASE {config.database} SET search_path = evil, public")
    engine.dispose()
    q = make_queuer()
    q.add_task(len)
    with q:
        assert ended(q, q.add_job(len, "word")).result == 4
    with engine.connect() as connection:
        for table in ("job", "job_archive", "worker", "master"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM evil.{table}").scalar_one() == 0


def test_secrets_of_a_configuration_are_not_shown() -> None:
    config = DatabaseConfiguration(password=SECRET, sslmode="require", parameters={"sslpassword": SECRET})
    assert SECRET not in f"{config!r} {config} {config.url!r}"
