"""Collected with --timescale alone: what differs where the server has TimescaleDB."""

from dataclasses import replace

import pytest
from sqlalchemy import Engine, inspect, text

from queuer import BatchJob, ConfigurationError, DatabaseConfiguration, MasterSettings, Queuer, new_queuer_with_db
from queuer.database import engines
from queuer.database.database import Database
from queuer.operations import upkeep


def hypertables(config: DatabaseConfiguration) -> list[tuple[str, str]]:
    engine = engines.create(config, application_name="tests")
    with engine.connect() as connection:
        query = "SELECT hypertable_schema, hypertable_name FROM timescaledb_information.hypertables"
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


def test_the_archive_becomes_a_hypertable_where_it_can(config: DatabaseConfiguration) -> None:
    assert hypertables(config) == [("public", "job_archive")]


def test_it_is_partitioned_by_day_and_has_our_indexes_only(engine: Engine) -> None:
    with engine.connect() as connection:
        query = "SELECT column_name, time_interval FROM timescaledb_information.dimensions"
        assert [(row[0], row[1].days) for row in connection.execute(text(query))] == [("ended_at", 1)]
    indexes = {index["name"] for index in inspect(engine).get_indexes("job_archive")}
    assert indexes == {"ix_job_archive_rid", "ix_job_archive_ended_at"}


def test_in_a_schema_of_its_own(empty_config: DatabaseConfiguration) -> None:
    odd = replace(empty_config, schema='weird"schema; --', with_timescale=True)
    q = new_queuer_with_db("test", 1, "", odd)
    q.stop()
    assert hypertables(odd) == [(odd.schema, "job_archive")]


def test_ended_jobs_are_in_chunks_and_are_found(q: Queuer, engine: Engine) -> None:
    q.add_task_with_name(lambda n: n, "task")
    rids = q.add_jobs(BatchJob("task", [n]) for n in range(20))
    with q:
        results = [job and job.result for job in map(q.wait_for_job_finished, rids)]
    assert results == list(range(20))
    with engine.connect() as connection:
        query = "SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = 'job_archive'"
        assert connection.scalar(text(query)) == 1


def test_old_ended_jobs_go_by_whole_chunks(database: Database, engine: Engine) -> None:
    insert = """INSERT INTO job_archive (id, status, task_name, ended_at)
        SELECT n, 'SUCCEEDED', 'task', now() - n * interval '1 day' FROM generate_series(1, 10) n"""
    with engine.begin() as connection:
        connection.execute(text(insert))
    upkeep.prune(database, MasterSettings(retention_archive=4))
    with engine.connect() as connection:
        left = {row[0] for row in connection.execute(text("SELECT id FROM job_archive"))}
        chunks = connection.scalar(text("SELECT count(*) FROM timescaledb_information.chunks"))
    assert {1, 2, 3} <= left <= {1, 2, 3, 4, 5}  # a chunk goes when all of it is old
    assert chunks == len(left)


def test_it_can_be_forbidden_and_is_then_missed_when_required(empty_config: DatabaseConfiguration) -> None:
    new_queuer_with_db("test", 1, "", replace(empty_config, with_timescale=False)).stop()
    new_queuer_with_db("test", 1, "", empty_config).stop()  # what is there is taken as it is
    with pytest.raises(ConfigurationError, match="with_timescale is True, but job_archive .* is a plain table"):
        new_queuer_with_db("test", 1, "", replace(empty_config, with_timescale=True))
