"""Rows as other programs may write them, drawn by Hypothesis: what the table takes ends, and harms no other."""

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from support.contract import eventually

from queuer import JobStatus, Queuer

_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)
_json = st.recursive(
    _scalars.filter(lambda value: not isinstance(value, str) or "\0" not in value),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "interval"]), inner),
    max_leaves=5,
)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=fields) | _json


_options = _object(
    on_error=_object(timeout=_json, max_retries=_json, retry_delay=_json, retry_backoff=_json),
    schedule=_object(start=_json, max_count=_json, interval=_json | st.floats(1, 1e9), next_interval=_json),
    metadata=_json,
    other=_json,
)
_instants = st.sampled_from(["4713-01-02 BC", "0001-01-01", "2026-01-01", "9999-12-31 23:59:59.999999", "294276-12-31"])
_infinite = st.sampled_from(["infinity", "-infinity"])
_rows = st.fixed_dictionaries(
    {"options": _options.map(json.dumps)},
    optional={
        "parameters": _json.map(json.dumps),
        "parameters_keyed": st.none() | _json.map(json.dumps),
        "failures": st.none() | (_json | st.lists(_json, max_size=2)).map(json.dumps),
        "attempts": st.sampled_from([-(2**31), -1, 0, 1, 999_999_999, 1_000_000_000, 2**31 - 1]),
        "losses": st.sampled_from([-32_768, 0, 3, 32_767]),
        "schedule_count": st.sampled_from([-(2**31), 0, 1, 1_000_000_000, 2**31 - 1]),
        "status": st.sampled_from(["QUEUED", "SCHEDULED", "RUNNING"]),
        "scheduled_at": _instants.filter(lambda at: at < "2027" or "BC" in at),
        "created_at": _instants | _infinite,
        "occurrence_at": _instants | _infinite,
        "started_at": _instants | _infinite,
        "cancel_requested_at": _instants,
        "worker_rid": st.sampled_from(["00000000-0000-0000-0000-000000000001"]),
        "series_rid": st.sampled_from(["00000000-0000-0000-0000-000000000001"]),
        "priority": st.integers(-(2**15), 2**15 - 1),
        "queue": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    },
)


@settings(max_examples=settings.default.max_examples // 20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(_rows, min_size=10, max_size=40))
def test_whatever_rows_there_are_they_end_and_harm_no_other(q: Queuer, engine: Engine, rows: list[Any]) -> None:
    if q.get_workers()[0].tasks == []:
        q.add_task_with_name(lambda *numbers, **_named: len(numbers), "task")
    for row in rows:
        _insert(engine, row)
    own = q.add_job("task", 1)
    q.get_jobs(entries=1000)
    with q:  # its first round as the master takes back what workers run that nobody knows
        ended = q.wait_for_job_finished(own.rid, timeout_seconds=20)
        assert ended is not None
        assert ended.status is JobStatus.SUCCEEDED
        eventually(lambda: _due(engine) == 0, timeout=20)
        q.get_jobs_ended(entries=1000)


def _insert(engine: Engine, row: dict[str, Any]) -> None:
    columns = ", ".join(row)
    values = ", ".join(f":{name}" for name in row)
    with Session(engine) as session:
        try:
            session.execute(text(f"INSERT INTO job (task_name, {columns}) VALUES ('task', {values})"), row)
        except IntegrityError:
            return  # a constraint refuses it
        session.commit()


def _due(engine: Engine) -> int:
    """Jobs that still wait, but for those that may: for an instant that is to come, or for a function."""
    query = """SELECT count(*) FROM job WHERE NOT (status = 'SCHEDULED' AND scheduled_at > clock_timestamp())
        AND jsonb_typeof(options #> '{schedule,next_interval}') IS DISTINCT FROM 'string'"""
    with Session(engine) as session:
        return session.scalar(text(query)) or 0
