"""Rows that other programs wrote by plain SQL: one that makes no sense ends FAILED, and harms no other."""

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from support.contract import eventually

from queuer import BatchJob, JobStatus, Queuer

RECURRING_TWICE = """'{"schedule": {"max_count": 2, "interval": 60}}'"""
RETRIES = """'{"on_error": {"max_retries": 1, "retry_delay": 0}}'"""
RECURRING = """'{"schedule": {"max_count": 0, "interval": 60}}'"""


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("parameters", "'[1e5000]'"),
        ("parameters", "('[' || repeat('[', 3000) || repeat(']', 3000) || ']')::jsonb"),
        ("parameters, options", f"'5', {RECURRING}"),
        ("parameters, options", f"""'{{"a": 1}}', {RECURRING}"""),
        ("options", """'{"on_error": {"timeout": 1e400}}'"""),
        ("options", """'{"schedule": {"interval": 1e300, "max_count": 0}}'"""),
        ("options", """'{"schedule": {"start": "yesterday"}}'"""),
        ("options, schedule_count", f"{RECURRING}, 999999999"),
        ("attempts", "999999999"),
        ("attempts", "1000000000"),
        ("attempts", "2147483647"),
        ("attempts", "-1"),
        ("options, attempts", f"{RETRIES}, -1000"),
        ("options, schedule_count", f"{RECURRING}, 1000000000"),
        ("options, schedule_count", f"{RECURRING}, 2147483647"),
        ("options, schedule_count", f"{RECURRING_TWICE}, 0"),
        ("options, schedule_count", f"{RECURRING_TWICE}, 1"),
        ("losses", "32767"),
        ("losses", "-1"),
        ("status, losses", "'RUNNING', -32768"),
        ("status", "'SCHEDULED'"),
        ("status, losses", "'RUNNING', 32767"),
        ("status, losses, cancel_requested_at", "'RUNNING', 32767, now()"),
        ("status, losses, options, schedule_count", f"'RUNNING', 3, {RECURRING}, 1000000000"),
        ("options, created_at", f"{RECURRING}, '294276-01-01'"),
        ("options, created_at", f"{RECURRING}, '4713-01-02 BC'"),
        ("options, created_at", f"{RECURRING}, 'infinity'"),
        ("options, created_at", f"{RECURRING}, '-infinity'"),
        ("options, occurrence_at", f"{RECURRING}, '10000-01-01'"),
        ("options, occurrence_at", f"{RECURRING}, 'infinity'"),
        ("started_at", "'-infinity'"),
        ("status, losses, started_at", "'RUNNING', 32767, 'infinity'"),
        ("options", """'{"schedule": {"max_count": 0, "next_interval": 5}}'"""),
        ("options", """'{"schedule": {"max_count": 0, "next_interval": {}}}'"""),
        ("options", """'["schedule"]'"""),
        ("options", "'null'"),
        ("failures", "'[null, 5, [], {}]'"),
        ("failures", "'{}'"),
        ("failures, parameters, options", f"""'5', '[{{"a": 1}}]', {RETRIES}"""),
        ("failures", "NULL"),
        ("parameters_keyed, options", "NULL, NULL"),
        ("parameters_keyed, options", "'null', 'null'"),
        ("priority, queue", "-32768, repeat('x', 100000)"),
    ],
)
def test_one_harms_no_other(q: Queuer, engine: Engine, columns: str, values: str) -> None:
    q.add_task_with_name(lambda *numbers: len(numbers), "task")
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO job (task_name, {columns}) VALUES ('task', {values})")
    rids = q.add_jobs(BatchJob("task", [n]) for n in range(5))
    assert len(q.get_jobs()) == 6  # it can be looked at
    with q:
        for rid in rids:
            job = q.wait_for_job_finished(rid, timeout_seconds=10)
            assert job is not None
            assert job.status is JobStatus.SUCCEEDED
        eventually(lambda: len(q.get_jobs_ended()) == 6)
    assert q.get_jobs("RUNNING") == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "'DONE'"),
        ("scheduled_at", "'infinity'"),
        ("scheduled_at", "'-infinity'"),
    ],
)
def test_what_no_worker_could_handle_is_refused_by_the_table(engine: Engine, column: str, value: str) -> None:
    with engine.begin() as connection, pytest.raises(DBAPIError, match="violates check constraint"):
        connection.exec_driver_sql(f"INSERT INTO job (task_name, {column}) VALUES ('task', {value})")
