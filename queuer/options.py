"""What can be asked for a job or a worker, and how it is written as JSON in the `options` column.

`to_json` and `from_json` are inverses. `from_json` takes what any program may have written into the table, so it
checks everything and raises `ValueError`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from queuer.envelope import is_sealed
from queuer.foreign import is_a, plain_number, plain_text, shown
from queuer.states import RetryBackoff

#: The longest time that may be asked for, in seconds: far beyond any use, and far below where PostgreSQL's interval
#: and Python's timedelta overflow.
LONGEST = 100 * 365 * 86_400.0
MOST_DAYS = 100 * 365

#: PostgreSQL's `integer`.
HIGHEST_COUNT = 2**31 - 1


# A value of the wrong type is a ValueError like any other value that is not allowed: the contract knows but one.


def _seconds(name: str, value: object) -> float:
    number = plain_number(value)
    if number is None:
        raise ValueError(f"{name} is {shown(value)}; allowed is a number of seconds, 0 or more")
    if not 0 <= number <= LONGEST:  # NaN is not either
        raise ValueError(f"{name} is {shown(value)}; allowed are 0 to {LONGEST:.0f} seconds")
    return float(number)


def _count(name: str, value: object) -> int:
    number = plain_number(value)
    if not isinstance(number, int) or not 0 <= number <= HIGHEST_COUNT:
        raise ValueError(f"{name} is {shown(value)}; allowed is a whole number from 0 to {HIGHEST_COUNT}")
    return number


@dataclass(frozen=True, slots=True)
class OnError:
    """What happens when a task fails.

    Args:
        timeout: Seconds that one attempt may take; 0 = no limit.
        max_retries: Failed attempts that are followed by another one: at most `1 + max_retries` attempts fail.
        retry_delay: Seconds before the first retry.
        retry_backoff: How that delay grows: "none", "linear" or "exponential".

    Raises:
        ValueError: A value is negative, not finite, or not one of those allowed.
    """

    timeout: float = 30.0
    max_retries: int = 3
    retry_delay: float = 1.0
    retry_backoff: RetryBackoff | str = RetryBackoff.NONE

    def __post_init__(self) -> None:
        object.__setattr__(self, "timeout", _seconds("timeout", self.timeout))
        object.__setattr__(self, "max_retries", _count("max_retries", self.max_retries))
        object.__setattr__(self, "retry_delay", _seconds("retry_delay", self.retry_delay))
        try:
            backoff = RetryBackoff(plain_text(self.retry_backoff) or "")
        except ValueError:
            allowed = ", ".join(repr(known.value) for known in RetryBackoff)
            raise ValueError(f"retry_backoff is {shown(self.retry_backoff)}; allowed are {allowed}") from None
        object.__setattr__(self, "retry_backoff", backoff)

    def to_json(self) -> dict[str, Any]:
        return {
            "timeout": self.timeout,
            "max_retries": self.max_retries,
            "retry_delay": self.retry_delay,
            "retry_backoff": RetryBackoff(self.retry_backoff).value,
        }

    @classmethod
    def from_json(cls, raw: object) -> Self:
        fields = _fields("on_error", raw, ("timeout", "max_retries", "retry_delay", "retry_backoff"))
        return cls(**fields)


#: For a job when neither it nor its worker says anything: one attempt, without a limit.
NO_RETRY = OnError(timeout=0, max_retries=0, retry_delay=0)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a job runs, and how often.

    Args:
        start: The earliest instant of the first run; None = now. A naive datetime is taken as local time.
        max_count: How often the job runs in all; 0 = for ever.
        interval: Time from one run to the next, measured from planned start to planned start, so nothing drifts.
        next_interval: Instead of `interval`: the name of a function of the worker that tells when the next run is; see
            `Queuer.add_next_interval_func`.

    Raises:
        ValueError: Both or neither of the last two are given where one is needed; `interval` is not positive;
            `max_count` is negative.
    """

    start: datetime | None = None
    max_count: int = 1
    interval: timedelta | None = None
    next_interval: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_count", _count("max_count", self.max_count))
        if self.start is not None:
            object.__setattr__(self, "start", _instant(self.start))
        if self.interval is not None:
            object.__setattr__(self, "interval", _interval(self.interval))
        if self.next_interval is not None:
            object.__setattr__(self, "next_interval", check_name("next_interval", self.next_interval))
        if self.is_recurring and self.interval is None and self.next_interval is None:
            raise ValueError(
                f"interval and next_interval are None and max_count is {self.max_count}; a job that runs more than once"
                " needs one of them"
            )
        if self.interval is not None and self.next_interval is not None:
            raise ValueError("interval and next_interval are both given; allowed is one of them")

    @property
    def is_recurring(self) -> bool:
        return self.max_count != 1

    def to_json(self) -> dict[str, Any]:
        return {
            "start": self.start and self.start.isoformat(),
            "max_count": self.max_count,
            "interval": self.interval and self.interval.total_seconds(),
            "next_interval": self.next_interval,
        }

    @classmethod
    def from_json(cls, raw: object) -> Self:
        fields = _fields("schedule", raw, ("start", "max_count", "interval", "next_interval"))
        if isinstance(start := fields.get("start"), str):
            fields["start"] = datetime.fromisoformat(start)
        if fields.get("interval") is not None:
            fields["interval"] = timedelta(seconds=_seconds("interval", fields["interval"]))
        return cls(**fields)


LONGEST_NAME = 100


def check_name(what: str, name: object) -> str:
    """Raises `ValueError` unless `name` can name a task or a function."""
    text = plain_text(name)
    if text is None or not 1 <= len(text) <= LONGEST_NAME or "\0" in text:
        raise ValueError(f"{what} is {shown(name)}; allowed is a str of 1 to {LONGEST_NAME} characters without NUL")
    if not text.isascii() and any(0xD800 <= ord(character) <= 0xDFFF for character in text):
        raise ValueError(f"{what} is {shown(name)}; allowed are characters, not lone surrogates")
    return text


def _instant(value: object) -> datetime:
    if not issubclass(type(value), datetime):
        raise ValueError(f"start is {shown(value)}; allowed is a datetime, or None for now")  # noqa: TRY004
    try:
        # Of Python's own type, whatever a subclass makes of it. A naive one is taken as local time.
        return datetime.combine(datetime.date(value), datetime.timetz(value)).astimezone(UTC)  # type: ignore[arg-type]
    except Exception as error:
        raise ValueError(f"start is {shown(value)}, which has no equivalent in UTC") from error


def _interval(value: object) -> timedelta:
    if issubclass(type(value), timedelta):
        days, seconds, micros = (
            getattr(timedelta, part).__get__(value) for part in ("days", "seconds", "microseconds")
        )
        interval = timedelta(days, seconds, micros)
        if timedelta(0) < interval <= timedelta(seconds=LONGEST):
            return interval
    raise ValueError(f"interval is {shown(value)}; allowed is a timedelta above zero and up to {LONGEST:.0f} seconds")


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for one job.

    Args:
        on_error: Wins over the `OnError` of the worker that runs the job.
        schedule: When it runs, and how often.
        metadata: Goes with the job, untouched: a dict that JSON can hold.
    """

    on_error: OnError | None = None
    schedule: Schedule | None = None
    metadata: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, kind in (("on_error", OnError), ("schedule", Schedule), ("metadata", Mapping)):
            value = getattr(self, name)
            if value is not None and not is_a(value, kind):
                raise ValueError(f"{name} is {shown(value)}; allowed is {kind.__name__} or None")

    def to_json(self) -> dict[str, Any]:
        written: dict[str, Any] = {}
        if self.on_error is not None:
            written["on_error"] = self.on_error.to_json()
        if self.schedule is not None:
            written["schedule"] = self.schedule.to_json()
        if self.metadata is not None:
            written["metadata"] = dict(self.metadata)
        return written

    @classmethod
    def from_json(cls, raw: object) -> Self:
        if not raw:
            return cls()
        fields = _fields("options", raw, ("on_error", "schedule", "metadata"))
        if fields.get("on_error") is not None:
            fields["on_error"] = OnError.from_json(fields["on_error"])
        if fields.get("schedule") is not None:
            fields["schedule"] = Schedule.from_json(fields["schedule"])
        if is_sealed(fields.get("metadata")):  # the rest is of use without it
            fields["metadata"] = None
        return cls(**fields)


#: Of a job for which nothing is asked.
NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """What the master does, and when. Kept in the database, and in force for all workers.

    Args:
        retention_archive: Days that ended jobs are kept, 1 or more.
        master_poll_interval: Seconds between two rounds of the master's duties.
        lock_timeout_minutes: Minutes of silence after which another worker takes the office.
        worker_stale_after: Seconds of silence after which a worker counts as dead. Workers beat four times as often.
        worker_delete_after: Seconds after which the row of a worker that stopped is deleted.

    Raises:
        ValueError: A value is out of range.
    """

    retention_archive: int = 30
    master_poll_interval: float = 30.0
    lock_timeout_minutes: float = 5.0
    worker_stale_after: float = 120.0
    worker_delete_after: float = 86_400.0

    def __post_init__(self) -> None:
        if not 1 <= _count("retention_archive", self.retention_archive) <= MOST_DAYS:
            raise ValueError(f"retention_archive is {self.retention_archive}; allowed are 1 to {MOST_DAYS} days")
        for name in ("master_poll_interval", "lock_timeout_minutes", "worker_stale_after", "worker_delete_after"):
            if _seconds(name, getattr(self, name)) == 0:
                raise ValueError(f"{name} is 0; allowed are numbers above it")
            object.__setattr__(self, name, float(getattr(self, name)))


def _fields(name: str, raw: object, allowed: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise ValueError(f"{name} is {shown(raw)}; allowed is an object with {', '.join(allowed)}")  # noqa: TRY004
    if unknown := sorted(set(raw) - set(allowed)):
        raise ValueError(f"{name} has {shown(unknown)}; allowed are {', '.join(allowed)}")
    return dict(raw)
