"""When a recurring job runs next. Pure arithmetic; the instants come from the database's clock."""

from datetime import UTC, datetime

from queuer.options import Schedule


def next_occurrence(schedule: Schedule, occurred_at: datetime, count: int, now: datetime) -> datetime | None:
    """The planned start of the run after this one, or None when the series is over.

    Occurrences lie on the grid `occurred_at + k * interval`, so a late run delays no other. The next one is the first
    point of the grid that lies in the future: those that passed meanwhile were coalesced into the run that ended.

    Args:
        schedule: Of the job.
        occurred_at: The planned start of the run that ended.
        count: How many runs there were, that one included.
        now: The database's clock.
    """
    if schedule.interval is None or (schedule.max_count and count >= schedule.max_count):
        return None
    # Within one time zone Python reckons by the clock on the wall, and the database gives instants in the server's.
    begun_at = occurred_at.astimezone(UTC)
    passed = max(0, (now.astimezone(UTC) - begun_at) // schedule.interval)
    return begun_at + schedule.interval * (passed + 1)
