from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

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


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
@pytest.mark.parametrize("hours", range(6))
def test_the_grid_ignores_the_change_of_the_clocks(day: datetime, hours: int) -> None:
    """Whatever the time zone of the instants: the server's, in which the database gives them."""
    occurred_at, now = day - HOUR, day + hours * HOUR + timedelta(minutes=5)
    expected = day + (hours + 1) * HOUR
    schedule = Schedule(interval=HOUR, max_count=0)
    assert next_occurrence(schedule, occurred_at.astimezone(BERLIN), 1, now.astimezone(BERLIN)) == expected
    daily = Schedule(interval=24 * HOUR, max_count=0)
    assert next_occurrence(daily, day.astimezone(BERLIN), 1, day.astimezone(BERLIN)) == day + 24 * HOUR


zones = st.timezones()
instants = st.datetimes(datetime(1900, 1, 1), datetime(2900, 1, 1), timezones=st.just(UTC))


@given(instants, zones, st.timedeltas(timedelta(seconds=1), timedelta(days=800)), st.timedeltas(timedelta(0)))
def test_time_zones_change_nothing(at: datetime, zone: ZoneInfo, interval: timedelta, late: timedelta) -> None:
    schedule = Schedule(interval=interval, max_count=0)
    now = at + min(late, timedelta(days=10_000))
    in_utc = next_occurrence(schedule, at, 1, now)
    assert in_utc is not None
    assert next_occurrence(schedule, at.astimezone(zone), 1, now.astimezone(zone)) == in_utc


def test_a_year_that_leaps_is_a_day_longer_than_365() -> None:
    yearly = Schedule(interval=timedelta(days=365), max_count=0)
    assert next_occurrence(yearly, datetime(2028, 2, 29, tzinfo=UTC), 1, START) == datetime(2029, 2, 28, tzinfo=UTC)


def test_what_lies_beyond_the_calendar_is_an_overflow() -> None:
    century = Schedule(interval=timedelta(days=36_500), max_count=0)
    with pytest.raises(OverflowError):
        next_occurrence(century, datetime(9990, 1, 1, tzinfo=UTC), 1, START)
