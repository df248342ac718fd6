"""The contract's "Schedules", on the public API alone."""

from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import Any

import pytest
from support.contract import ended, eventually

from queuer import Job, JobArchive, JobStatus, OnError, Options, Queuer, Schedule

HOUR = timedelta(hours=1)
TENTH = timedelta(seconds=0.1)


def add(q: Queuer, task: Any, schedule: Schedule, on_error: OnError | None = None) -> Job:
    return q.add_job_with_options(Options(schedule=schedule, on_error=on_error), task)


def runs(q: Queuer) -> list[JobArchive]:
    return list(q.get_jobs_ended())[::-1]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"max_count": 0}, "interval and next_interval are None and max_count is 0; a job that runs more than once"),
        ({"max_count": 2}, "interval and next_interval are None and max_count is 2"),
        ({"max_count": -1}, "max_count is -1; allowed is a whole number"),
        ({"max_count": 1.5}, "max_count is 1.5"),
        ({"max_count": True}, "max_count is True"),
        ({"max_count": 2**31}, "max_count is 2147483648"),
        ({"max_count": 2, "interval": timedelta(0)}, "interval is datetime.timedelta.*; allowed is a timedelta above"),
        ({"max_count": 2, "interval": -HOUR}, "interval is"),
        ({"max_count": 2, "interval": timedelta.max}, "interval is"),
        ({"max_count": 2, "interval": 5}, "interval is 5"),
        ({"max_count": 2, "next_interval": ""}, "next_interval is ''; allowed is a str of 1 to 100"),
        ({"max_count": 2, "interval": HOUR, "next_interval": "f"}, "both given; allowed is one of them"),
        ({"start": "tomorrow"}, "start is 'tomorrow'; allowed is a datetime"),
        ({"start": datetime.min}, "start is .*, which has no equivalent in UTC"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_a_value_error(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Schedule(**fields)


@pytest.mark.parametrize("start", [datetime.max.replace(tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)])
def test_the_ends_of_the_calendar_harm_nobody(q: Queuer, start: datetime) -> None:
    q.add_task_with_name(lambda: "done", "task")
    with q:
        job = add(q, "task", Schedule(start=start))
        if start.year == 1:
            assert ended(q, job).result == "done"
        assert ended(q, q.add_job("task")).result == "done"


def test_a_naive_start_is_local_time(q: Queuer) -> None:
    start = datetime.now() + HOUR
    assert add(q, "task", Schedule(start=start)).scheduled_at == start.astimezone(UTC)


def test_a_job_with_a_max_count_of_1_runs_once(q: Queuer) -> None:
    q.add_task_with_name(lambda: None, "task")
    with q:
        job = ended(q, add(q, "task", Schedule(interval=HOUR)))
        assert (job.schedule_count, job.series_rid, job.series_error) == (1, None, None)
        assert q.get_jobs() == []


def test_a_job_with_a_max_count_of_n_runs_n_times(q: Queuer) -> None:
    heard: Queue[Any] = Queue()
    q.add_task_with_name(lambda: None, "task")
    q.listen_for_job_delete(heard.put)
    with q:
        job = add(q, "task", Schedule(max_count=3, interval=TENTH))
        told = [heard.get(timeout=10) for _ in range(3)]
        assert q.get_jobs() == []
    assert [run.schedule_count for run in told] == [1, 2, 3]
    assert {run.series_rid for run in told} == {job.rid}
    assert len({run.rid for run in told}) == 3


def test_a_job_with_a_max_count_of_0_runs_on_and_on(q: Queuer) -> None:
    heard: Queue[Any] = Queue()
    q.add_task_with_name(lambda: None, "task")
    q.listen_for_job_delete(heard.put)
    with q:
        add(q, "task", Schedule(max_count=0, interval=timedelta(seconds=0.02)))
        told = [heard.get(timeout=10) for _ in range(6)]
        eventually(q.get_jobs)
    assert [run.schedule_count for run in told] == [1, 2, 3, 4, 5, 6]


def test_the_next_run_is_there_when_the_run_is_archived(q: Queuer) -> None:
    q.add_task_with_name(lambda: None, "task")
    with q:
        job = ended(q, add(q, "task", Schedule(max_count=0, interval=HOUR)))
        (following,) = q.get_jobs()
    assert (following.status, following.schedule_count, following.series_rid) == (JobStatus.SCHEDULED, 2, job.rid)
    assert following.scheduled_at == job.created_at + HOUR
    assert following.options == job.options


def test_a_start_in_the_past_is_due_at_once_and_keeps_its_grid(q: Queuer) -> None:
    q.add_task_with_name(lambda: None, "task")
    start = datetime.now(UTC) - 2.5 * HOUR
    with q:
        ended(q, add(q, "task", Schedule(start=start, max_count=3, interval=HOUR)))
        (following,) = q.get_jobs()
    assert (following.scheduled_at, following.schedule_count) == (start + 3 * HOUR, 2)


def test_an_idle_worker_starts_on_time(q: Queuer) -> None:
    q.add_task_with_name(lambda: None, "task")
    with q:
        starts = [datetime.now(UTC) + timedelta(seconds=0.1 * n) for n in range(1, 6)]
        jobs = [add(q, "task", Schedule(start=start)) for start in reversed(starts)]
        late = [_late(ended(q, job)) for job in jobs]
    assert min(late) >= timedelta(0)
    assert max(late) < timedelta(seconds=2)  # on a busy machine; benchmarks/schedule.py measures


def _late(job: JobArchive) -> timedelta:
    assert job.started_at is not None
    assert job.scheduled_at is not None
    return job.started_at - job.scheduled_at


def test_a_retry_does_not_move_the_grid(q: Queuer) -> None:
    tries: list[int] = []

    @q.task
    def task() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("no")

    start = datetime.now(UTC) - timedelta(seconds=1)
    with q:
        schedule = Schedule(start=start, max_count=2, interval=HOUR)
        job = ended(q, add(q, task, schedule, OnError(max_retries=1, retry_delay=0.1)))
        assert (job.attempts, job.occurrence_at) == (2, start)
        (following,) = q.get_jobs()
    assert (following.scheduled_at, following.schedule_count, following.attempts) == (start + HOUR, 2, 0)
    assert following.failures == []
