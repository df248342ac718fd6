"""The contract's "Schedules": the instants that a function names."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import Any

import pytest
from support.contract import ended, eventually

from queuer import Job, JobStatus, OnError, Options, Queuer, Schedule

HOUR = timedelta(hours=1)


TENTH = timedelta(seconds=0.1)
HALF = timedelta(seconds=0.5)


def add(q: Queuer, task: Any, schedule: Schedule, on_error: OnError | None = None) -> Job:
    return q.add_job_with_options(Options(schedule=schedule, on_error=on_error), task)


def test_a_next_interval_function_gets_the_planned_start_and_the_number_of_the_run(q: Queuer) -> None:
    calls: list[tuple[datetime, int]] = []
    heard: Queue[Any] = Queue()

    def later(scheduled_at: datetime, schedule_count: int) -> datetime:
        calls.append((scheduled_at, schedule_count))
        return scheduled_at + (HALF if schedule_count < 2 else HOUR)

    q.add_task_with_name(lambda: None, "task")
    q.add_next_interval_func(later)
    q.listen_for_job_delete(heard.put)
    start = datetime.now(UTC) + TENTH
    with q:
        add(q, "task", Schedule(start=start, max_count=0, next_interval="later"))
        for _ in range(2):
            heard.get(timeout=10)
        (third,) = q.get_jobs()
    assert calls[:2] == [(start, 1), (start + HALF, 2)]
    assert (third.scheduled_at, third.schedule_count) == (start + HALF + HOUR, 3)


def test_a_next_interval_function_may_return_local_time(q: Queuer) -> None:
    at = datetime.now().replace(microsecond=0) + HOUR
    q.add_task_with_name(lambda: None, "task")
    q.add_next_interval_func_with_name(lambda _at, _count: at, "later")
    with q:
        ended(q, add(q, "task", Schedule(max_count=0, next_interval="later")))
        assert q.get_jobs()[0].scheduled_at == at.astimezone(UTC)


def test_a_next_interval_function_is_not_asked_after_the_last_run(q: Queuer) -> None:
    calls: list[int] = []
    q.add_task_with_name(lambda: None, "task")
    q.add_next_interval_func_with_name(lambda at, count: (calls.append(count), at + HOUR)[1], "later")
    with q:
        ended(q, add(q, "task", Schedule(max_count=1, next_interval="later")))
        assert q.get_jobs() == []
    assert calls == []


def test_what_a_next_interval_function_missed_is_coalesced(q: Queuer) -> None:
    q.add_task_with_name(lambda: None, "task")
    q.add_next_interval_func_with_name(lambda at, _count: at + HOUR, "hourly")
    start = datetime.now(UTC) - 10.5 * HOUR
    with q:
        ended(q, add(q, "task", Schedule(start=start, max_count=2, next_interval="hourly")))
        (following,) = q.get_jobs()
    assert (following.scheduled_at, following.schedule_count) == (start + 11 * HOUR, 2)


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("no repr")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("no str")


def _raising(error: BaseException) -> Callable[[datetime, int], datetime]:
    def fn(_at: datetime, _count: int) -> datetime:
        raise error

    return fn


async def _async(at: datetime, _count: int) -> datetime:
    return at + HOUR


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (_raising(ValueError("no")), "raised ValueError: no"),
        (_raising(SystemExit(3)), "raised SystemExit: 3"),
        (_raising(Unspeakable()), "raised Unspeakable: (its message can't be read: ValueError)"),
        (_raising(ValueError("a\0b\ud800")), "raised ValueError: a"),
        (lambda _at, _count: None, "returned None; allowed is a datetime after"),
        (lambda _at, _count: 5, "returned 5; allowed"),
        (lambda _at, _count: "2099-01-01", "returned '2099-01-01'; allowed"),
        (lambda _at, _count: HOUR, "returned datetime.timedelta(seconds=3600); allowed"),
        (lambda at, _count: at, "returned datetime.datetime("),
        (lambda at, _count: at - HOUR, "allowed is a datetime after"),
        (lambda _at, _count: datetime.min, "returned datetime.datetime(1, 1, 1, 0, 0); allowed"),
        (lambda _at, _count: Unshowable(), "returned <Unshowable that can't be shown>"),
        (lambda _at: None, "raised TypeError: "),
    ],
)
@pytest.mark.parametrize("outcome", ["succeeds", "fails"])
def test_a_next_interval_function_that_makes_no_sense_ends_the_series_loudly(
    q: Queuer, caplog: pytest.LogCaptureFixture, fn: Any, says: str, outcome: str
) -> None:
    def breaks() -> None:
        raise ValueError("the task's own")

    q.add_task_with_name((lambda: 42) if outcome == "succeeds" else breaks, "task")
    q.add_next_interval_func_with_name(fn, "strange")
    with q, caplog.at_level(logging.ERROR, logger="queuer"):
        job = ended(q, add(q, "task", Schedule(max_count=0, next_interval="strange")), timeout=5)
        assert q.get_jobs() == []
        assert ended(q, q.add_job("task")).rid  # its slot is free, and the worker alive
    assert job.series_error is not None
    assert job.series_error.startswith("the next-interval function 'strange' ")
    assert says in job.series_error
    if outcome == "succeeds":
        assert (job.status, job.result, job.error) == (JobStatus.SUCCEEDED, 42, None)
    else:
        assert (job.status, job.error) == (JobStatus.FAILED, "ValueError: the task's own")
    assert f"the series of job {job.rid}, task 'task', ends: the next-interval function 'strange'" in caplog.text


def test_a_series_beyond_the_calendar_ends_loudly(q: Queuer) -> None:
    q.add_task_with_name(lambda: None, "task")
    q.add_next_interval_func_with_name(lambda at, _count: at.replace(year=9999), "late")
    q.add_next_interval_func_with_name(lambda _at, _count: datetime.max.replace(tzinfo=UTC), "last")
    with q:
        ended(q, add(q, "task", Schedule(max_count=0, next_interval="late")))
        assert [job.scheduled_at.year for job in q.get_jobs() if job.scheduled_at] == [9999]
        ended(q, add(q, "task", Schedule(max_count=0, next_interval="last")))
        assert ended(q, q.add_job("task")).status is JobStatus.SUCCEEDED


def test_a_coroutine_function_can_not_tell_the_next_interval(q: Queuer) -> None:
    with pytest.raises(TypeError, match="_async.* is a coroutine function; allowed is a plain one"):
        q.add_next_interval_func(_async)  # type: ignore[arg-type]


def test_a_worker_takes_no_job_whose_next_interval_function_it_lacks(make_queuer: Any) -> None:
    without, having = make_queuer(), make_queuer()
    ran_on: list[str] = []
    done = threading.Event()
    without.add_task_with_name(lambda: ran_on.append("without"), "task")
    having.add_task_with_name(lambda: (ran_on.append("having"), done.set())[0], "task")
    having.add_next_interval_func_with_name(lambda at, _count: at + HOUR, "later")
    with without:
        job = add(without, "task", Schedule(max_count=2, next_interval="later"))
        ended(without, without.add_job("task"))  # it was passed over
        assert without.get_job(job.rid).attempts == 0
        assert ran_on == ["without"]
        with having:
            assert done.wait(10)
            ended(without, job)
    assert ran_on == ["without", "having"]


def test_a_next_interval_function_added_after_start_makes_its_waiting_jobs_run(q: Queuer) -> None:
    q.add_task_with_name(lambda: "done", "task")
    with q:
        job = add(q, "task", Schedule(max_count=2, next_interval="later"))
        ended(q, q.add_job("task"))
        q.add_next_interval_func_with_name(lambda at, _count: at + HOUR, "later")
        assert ended(q, job, timeout=4).result == "done"


def test_names_of_next_interval_functions_follow_the_rules_of_tasks(q: Queuer) -> None:
    def later(at: datetime, _count: int) -> datetime:
        return at + HOUR

    q.add_next_interval_func(later)
    with pytest.raises(ValueError, match="'later'"):
        q.add_next_interval_func(later)
    for name in ("", "x" * 101, None):
        with pytest.raises((ValueError, TypeError), match="name is "):
            q.add_next_interval_func_with_name(later, name)  # type: ignore[arg-type]
    for nonsense in (None, 5):
        with pytest.raises(TypeError, match=f"{nonsense!r}"):
            q.add_next_interval_func(nonsense)  # type: ignore[arg-type]
    assert q.get_worker(q.get_current_worker_rid()).next_interval_funcs == ["later"]


def test_a_late_run_does_not_delay_the_grid(q: Queuer) -> None:
    heard: Queue[Any] = Queue()
    go_on = threading.Event()
    count: list[int] = []

    @q.task
    def slow_at_first() -> None:
        count.append(1)
        if len(count) == 1:
            go_on.wait(10)

    q.listen_for_job_delete(heard.put)
    with q:
        job = add(q, slow_at_first, Schedule(max_count=3, interval=TENTH))
        eventually(lambda: datetime.now(UTC) > q.get_job(job.rid).created_at + 2.5 * TENTH)
        go_on.set()
        told = [heard.get(timeout=10) for _ in range(3)]
    offsets = [(run.occurrence_at - told[0].created_at) for run in told[1:]]
    assert all(offset % TENTH == timedelta(0) for offset in offsets)
    assert offsets[0] >= 3 * TENTH
    assert [run.schedule_count for run in told] == [1, 2, 3]
