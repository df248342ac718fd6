from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuer import Schedule
from queuer.occurrences import next_occurrence

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def after(late: timedelta, *, count: int = 1, max_count: int = 0) -> datetime | None:
    return next_occurrence(Schedule(interval=HOUR, max_count=max_count), START, count, START + late)


def test_the_next_run_is_one_interval_after_the_planned_start_not_the_real_one() -> None:
    assert after(timedelta(minutes=59)) == START + HOUR


@pytest.mark.parametrize("hours", [1, 2, 50])
def test_occurrences_that_passed_are_coalesced(hours: int) -> None:
    assert after(hours * HOUR + timedelta(seconds=1)) == START + (hours + 1) * HOUR


def test_the_last_of_a_series_has_no_next() -> None:
    assert after(timedelta(), count=2, max_count=3) == START + HOUR
    assert after(timedelta(), count=3, max_count=3) is None


def test_a_job_that_runs_once_has_no_next() -> None:
    assert next_occurrence(Schedule(), START, 1, START) is None


@given(
    st.timedeltas(timedelta(microseconds=1), timedelta(days=400)),
    st.timedeltas(timedelta(days=-1), timedelta(days=900)),
)
def test_the_next_one_is_the_first_point_of_the_grid_in_the_future(interval: timedelta, late: timedelta) -> None:
    now = START + late
    planned = next_occurrence(Schedule(interval=interval, max_count=0), START, 1, now)
    assert planned is not None
    assert (planned - START) % interval == timedelta(0)
    assert planned > now
    assert planned == START + interval or planned - interval <= now
