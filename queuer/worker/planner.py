"""When a recurring job runs next."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from queuer.foreign import shown
from queuer.occurrences import next_occurrence
from queuer.options import Options, Schedule
from queuer.payload import one_line
from queuer.values import MOST_RUNS, Outcome, Verdict
from queuer.worker.attempt import describe

logger = logging.getLogger(__name__)

#: Calls of a next-interval function for one run, to find an instant in the future.
MOST_CALLS = 10_000


class SeriesEnded(Exception):
    """A next-interval function does not say when the series goes on."""


class Planner:
    """Adds to the outcome of a run when the series goes on.

    Args:
        find: A next-interval function by its name.
    """

    def __init__(self, find: Callable[[str], Callable[..., Any] | None]) -> None:
        self._find = find

    def plan(self, outcome: Outcome) -> Outcome:
        job = outcome.job
        if job.instants is None or outcome.verdict not in (Verdict.SUCCEEDED, Verdict.FAILED):
            return outcome
        try:
            schedule = Options.from_json(json.loads(job.options or "{}")).schedule
        except (ValueError, TypeError, OverflowError, RecursionError):  # then the job has failed for that
            return outcome
        if schedule is None or (schedule.max_count and job.schedule_count >= schedule.max_count):
            return outcome
        try:
            # The database gives them in the server's time zone, within which Python reckons by the clock on the wall.
            planned_at, claimed_at = (at.astimezone(UTC) for at in job.instants)
            now = claimed_at + timedelta(seconds=outcome.elapsed)
            return structs.replace(outcome, next_run_at=self._next(schedule, planned_at, job.schedule_count, now))
        except Exception as error:  # noqa: BLE001 - the run's own outcome stands, whatever the function does
            said = describe(error, None)
            reason = said.message if isinstance(error, SeriesEnded) else said.error
            shown = one_line(reason)
            logger.error("the series of job %s, task %r, ends: %s", job.rid, job.task_name, shown)  # noqa: TRY400
            return structs.replace(outcome, series_error=reason)

    def _next(self, schedule: Schedule, planned_at: datetime, count: int, now: datetime) -> datetime | None:
        if count >= MOST_RUNS:
            raise SeriesEnded(f"a series has {MOST_RUNS} runs at most")
        try:
            if schedule.next_interval is None:
                return next_occurrence(schedule, planned_at, count, now)
            return self._ask(schedule.next_interval, planned_at, count, now)
        except OverflowError:
            raise SeriesEnded("its next run would be beyond the year 9999") from None

    def _ask(self, name: str, planned_at: datetime, count: int, now: datetime) -> datetime:
        """Asks for instants until one is in the future: those that passed meanwhile are coalesced."""
        fn = self._find(name)
        if fn is None:
            raise SeriesEnded(f"the next-interval function {name!r} is not registered here")
        for _ in range(MOST_CALLS):
            planned_at = self._call(fn, name, planned_at, count)
            if planned_at > now:
                break
        return planned_at

    @staticmethod
    def _call(fn: Callable[..., Any], name: str, planned_at: datetime, count: int) -> datetime:
        try:
            answer = fn(planned_at, count)
        except BaseException as error:
            raise SeriesEnded(f"the next-interval function {name!r} raised {describe(error, None).error}") from error
        try:
            instant = answer.astimezone(UTC) if isinstance(answer, datetime) else None
        except (ValueError, OverflowError):  # at the ends of the calendar
            instant = None
        if instant is None or instant <= planned_at:
            raise SeriesEnded(
                f"the next-interval function {name!r} returned {shown(answer)}; allowed is a datetime after"
                f" {planned_at}"
            )
        return instant
