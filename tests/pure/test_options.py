import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from queuer import OnError, Options, RetryBackoff, Schedule
from queuer.occurrences import next_occurrence
from queuer.options import LONGEST

seconds = st.floats(min_value=0, max_value=LONGEST)
on_errors = st.builds(
    OnError,
    timeout=seconds,
    max_retries=st.integers(min_value=0, max_value=2**31 - 1),
    retry_delay=seconds,
    retry_backoff=st.sampled_from(RetryBackoff),
)
schedules = st.builds(
    Schedule,
    start=st.none()
    | st.datetimes(timezones=st.timezones(), allow_imaginary=False).filter(lambda at: 1 < at.year < 9999),
    max_count=st.integers(min_value=0, max_value=2**31 - 1),
    interval=st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=36_000)),
)


@given(on_errors, schedules)
def test_what_is_written_as_json_reads_back_equal(on_error: OnError, schedule: Schedule) -> None:
    options = Options(on_error=on_error, schedule=schedule, metadata={"tenant": 7})
    assert Options.from_json(options.to_json()) == options


@pytest.mark.parametrize("field", ["timeout", "retry_delay"])
@pytest.mark.parametrize("value", [-1, -0.001, float("nan"), float("inf"), "30", None, True, LONGEST * 2])
def test_seconds_are_finite_numbers_from_zero_on(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field} is .*; allowed"):
        OnError(**{field: value})


@pytest.mark.parametrize("value", [-1, 1.5, "3", True, 2**31])
def test_max_retries_is_a_count(value: object) -> None:
    with pytest.raises(ValueError, match="^max_retries is .*; allowed is a whole number"):
        OnError(max_retries=value)


def test_what_can_not_be_shown_is_refused_all_the_same() -> None:
    with pytest.raises(ValueError, match="^max_retries is <int that can't be shown>; allowed is a whole number"):
        OnError(max_retries=10**5000)
    with pytest.raises(ValueError, match="^timeout is '9{299}…; allowed is a number of seconds"):
        OnError(timeout="9" * 1_000_000)


def test_another_backoff_is_refused_with_those_allowed() -> None:
    with pytest.raises(ValueError, match="retry_backoff is 'cubic'; allowed are 'none', 'linear', 'exponential'"):
        OnError(retry_backoff="cubic")


def test_a_backoff_may_be_given_as_text() -> None:
    assert OnError(retry_backoff="linear").retry_backoff is RetryBackoff.LINEAR


@pytest.mark.parametrize("max_count", [0, 2])
def test_what_runs_more_than_once_needs_an_interval(max_count: int) -> None:
    with pytest.raises(ValueError, match=f"interval and next_interval are None and max_count is {max_count}"):
        Schedule(max_count=max_count)


@pytest.mark.parametrize("interval", [timedelta(0), timedelta(seconds=-1), 5, timedelta.max])
def test_an_interval_is_a_timedelta_above_zero(interval: object) -> None:
    with pytest.raises(ValueError, match="^interval is .*; allowed is a timedelta above zero"):
        Schedule(interval=interval)


@pytest.mark.parametrize("max_count", [-1, 1.5, None])
def test_max_count_is_a_count(max_count: object) -> None:
    with pytest.raises(ValueError, match="^max_count is"):
        Schedule(max_count=max_count, interval=timedelta(seconds=1))


def test_a_naive_start_is_taken_as_local_time() -> None:
    with time_machine.travel(datetime(2026, 7, 1, tzinfo=UTC)):
        naive = datetime(2026, 7, 1, 12, 0)
        assert Schedule(start=naive).start == naive.astimezone()


@pytest.mark.parametrize("start", ["2026-01-01", 5, datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))])
def test_a_start_that_is_no_instant_is_refused(start: object) -> None:
    with pytest.raises(ValueError, match="^start is"):
        Schedule(start=start)


@pytest.mark.parametrize("field", ["on_error", "schedule", "metadata"])
def test_options_of_the_wrong_type_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field} is 5; allowed is"):
        Options(**{field: 5})


@pytest.mark.parametrize(
    "raw",
    [
        5,
        "x",
        ["on_error"],
        {"unheard": 1},
        {"on_error": 5},
        {"on_error": {"timeout": "long"}},
        {"schedule": {"start": "?"}},
    ],
)
def test_json_of_another_program_is_checked(raw: object) -> None:
    with pytest.raises(ValueError, match="allowed|isoformat"):
        Options.from_json(raw)


@pytest.mark.parametrize("raw", [None, {}])
def test_no_json_is_no_options(raw: object) -> None:
    assert Options.from_json(raw) == Options()


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("naive", "utc"),
    [
        (datetime(2026, 7, 1, 2, 30), datetime(2026, 7, 1, 0, 30, tzinfo=UTC)),
        (datetime(2026, 1, 1, 2, 30), datetime(2026, 1, 1, 1, 30, tzinfo=UTC)),
        # the hour that comes twice: `fold` tells which
        (datetime(2026, 10, 25, 2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (datetime(2026, 10, 25, 2, 30, fold=1), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        # the hour that does not exist: Python takes 2:30 for what was 1:30 before the clocks were put forward, or from
        # 3.13 on for what is 3:30 after that
        (datetime(2026, 3, 29, 2, 30), datetime(2026, 3, 29, 0 if sys.version_info < (3, 13) else 1, 30, tzinfo=UTC)),
    ],
)
def test_naive_starts_around_a_change_of_the_clocks(naive: datetime, utc: datetime) -> None:
    assert Schedule(start=naive).start == utc


@pytest.mark.usefixtures("in_berlin")
def test_a_grid_is_absolute_time_also_across_a_change_of_the_clocks() -> None:
    day = timedelta(days=1)
    schedule = Schedule(start=datetime(2026, 10, 24, 12, 0), max_count=0, interval=day)
    assert schedule.start is not None
    planned = next_occurrence(schedule, schedule.start, 1, schedule.start)
    assert planned == schedule.start + day
    assert planned.astimezone().hour == 11
