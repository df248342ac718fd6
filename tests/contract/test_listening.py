"""The contract's `listen_for_job_…` and `wait_for_job_added`, on the public API alone."""

import asyncio
import logging
import threading
from collections import Counter
from datetime import datetime, timedelta
from queue import Queue
from typing import Any

import pytest
from sqlalchemy import Engine, text
from support.contract import Gate, ended, eventually

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    Job,
    JobArchive,
    JobStatus,
    OnError,
    Options,
    Queuer,
    Schedule,
    new_static_queuer,
)

Heard = Queue[Any]


def take(heard: Heard, count: int = 1) -> list[Any]:
    return [heard.get(timeout=10) for _ in range(count)]


def test_insert_tells_a_full_job_once(q: Queuer) -> None:
    heard: Heard = Queue()
    q.listen_for_job_insert(heard.put)
    with q:
        options = Options(metadata={"of": "me"}, on_error=OnError(timeout=5))
        job = q.add_job_with_options(options, "nobody has it", 1, key="word")
        (told,) = take(heard)
        q.add_job("the last")
        (last,) = take(heard)
    assert isinstance(told, Job)
    assert (told.id, told.rid, told.task_name, told.status) == (job.id, job.rid, "nobody has it", JobStatus.QUEUED)
    assert (told.parameters, told.parameters_keyed, told.options) == ([1], {"key": "word"}, options)
    assert told.created_at == job.created_at
    assert last.task_name == "the last"
    assert heard.empty()


@pytest.mark.parametrize("size", [3, 200, 1200])
def test_insert_tells_every_job_of_a_batch_once_and_in_order(q: Queuer, size: int) -> None:
    heard: Heard = Queue()
    q.listen_for_job_insert(heard.put)
    with q:
        rids = q.add_jobs(BatchJob("nobody has it", [n]) for n in range(size))
        q.add_job("the last")
        told = take(heard, size + 1)
    assert [job.rid for job in told[:-1]] == rids
    assert told[-1].task_name == "the last"
    assert heard.empty()


def test_insert_tells_each_job_once_when_many_add_at_once(make_queuer: Any) -> None:
    listening, adding = make_queuer(), make_queuer()
    heard: Heard = Queue()
    listening.listen_for_job_insert(heard.put)
    with listening:

        def add() -> None:
            adding.add_jobs(BatchJob("nobody has it") for _ in range(100))

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = take(heard, 400)
        adding.add_job("the last")
        assert take(heard)[0].task_name == "the last"
    assert set(Counter(job.rid for job in told).values()) == {1}


def test_insert_tells_of_jobs_that_another_program_adds_by_sql(q: Queuer, engine: Engine) -> None:
    heard: Heard = Queue()
    q.listen_for_job_insert(heard.put)
    with q:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO job (task_name, parameters) VALUES ('task', '[7]')"))
        (told,) = take(heard)
    assert (told.task_name, told.parameters, told.parameters_keyed) == ("task", [7], {})


def test_insert_tells_of_the_next_run_of_a_series(q: Queuer) -> None:
    heard: Heard = Queue()
    q.add_task_with_name(lambda: None, "task")
    q.listen_for_job_insert(heard.put)
    with q:
        job = q.add_job_with_options(Options(schedule=Schedule(max_count=2, interval=timedelta(hours=1))), "task")
        first, second = take(heard, 2)
    assert (first.rid, second.series_rid, second.schedule_count) == (job.rid, job.rid, 2)


def test_update_tells_at_every_start_retry_and_give_back(q: Queuer) -> None:
    heard: Heard = Queue()
    runs: list[int] = []
    gate = Gate()

    @q.task
    def task() -> None:
        runs.append(1)
        gate.entered.release()
        if len(runs) == 1:
            told_of_the_start.wait(10)
            raise ValueError("no")
        while not gate.go_on.wait(0.005):
            pass

    told_of_the_start = threading.Event()
    q.listen_for_job_update(heard.put)
    q.start()
    job = q.add_job_with_options(Options(on_error=OnError(max_retries=1, retry_delay=0.2)), task)
    gate.wait_entered()
    (start,) = take(heard)
    assert (start.rid, start.status, start.attempts) == (job.rid, JobStatus.RUNNING, 1)
    assert start.worker_rid == q.get_current_worker_rid()
    told_of_the_start.set()
    (retry,) = take(heard)
    assert (retry.status, retry.attempts, len(retry.failures)) == (JobStatus.SCHEDULED, 1, 1)
    (again,) = take(heard)
    assert (again.status, again.attempts) == (JobStatus.RUNNING, 2)
    gate.wait_entered()
    q.stop(timeout=0)
    (given_back,) = take(heard)
    assert (given_back.status, given_back.worker_rid, given_back.attempts) == (JobStatus.QUEUED, None, 2)
    assert heard.empty()


def test_delete_tells_of_every_end_whatever_the_outcome(q: Queuer) -> None:
    heard: Heard = Queue()

    @q.task
    def breaks() -> None:
        raise ValueError("no")

    q.add_task_with_name(lambda: 42, "works")
    q.listen_for_job_delete(heard.put)
    with q:
        succeeded = ended(q, q.add_job("works"))
        failed = ended(q, q.add_job(breaks))
        cancelled = q.cancel_job(q.add_job("nobody has it").rid)
        told = take(heard, 3)
    assert [(job.rid, job.status) for job in told] == [
        (succeeded.rid, JobStatus.SUCCEEDED),
        (failed.rid, JobStatus.FAILED),
        (cancelled.rid, JobStatus.CANCELLED),
    ]
    assert [type(job) for job in told] == [JobArchive] * 3
    assert [(job.result, job.error) for job in told[:2]] == [(42, None), (None, "ValueError: no")]
    assert heard.empty()


def test_delete_gives_results_of_the_type_that_the_task_returns(q: Queuer) -> None:
    heard: Heard = Queue()

    @q.task
    def now() -> datetime:
        return datetime(2026, 1, 1)

    q.listen_for_job_delete(heard.put)
    with q:
        q.add_job(now)
        (told,) = take(heard)
    assert told.result == datetime(2026, 1, 1)


def test_delete_tells_of_jobs_that_end_while_the_worker_stops(q: Queuer) -> None:
    heard: Heard = Queue()
    gate = Gate()
    q.add_task_with_name(gate, "task")
    q.listen_for_job_delete(heard.put)
    q.start()
    job = q.add_job("task")
    gate.wait_entered()
    q.stop(timeout=0, cancel_jobs=True)
    assert [told.rid for told in take(heard)] == [job.rid]


def test_callbacks_may_be_coroutine_functions(q: Queuer) -> None:
    heard: Heard = Queue()

    async def told(job: Job) -> None:
        await asyncio.sleep(0)
        heard.put(job)

    q.listen_for_job_insert(told)
    with q:
        job = q.add_job("nobody has it")
        assert take(heard)[0].rid == job.rid


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt(), asyncio.CancelledError()])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_callback_that_raises_is_logged_and_goes_on(
    q: Queuer, caplog: pytest.LogCaptureFixture, error: BaseException, kind: str
) -> None:
    heard: Heard = Queue()

    def breaks(job: Job) -> None:
        heard.put(job)
        raise error

    async def breaks_too(job: Job) -> None:
        breaks(job)

    q.listen_for_job_insert(breaks if kind == "sync" else breaks_too)
    with q, caplog.at_level(logging.ERROR, logger="queuer"):
        q.add_job("first")
        q.add_job("second")
        assert [job.task_name for job in take(heard, 2)] == ["first", "second"]
    assert "a function that listens for job insert raised" in caplog.text


def test_close_ends_it_and_is_safe_twice(q: Queuer) -> None:
    closed: Heard = Queue()
    heard: Heard = Queue()
    with q:
        subscription = q.listen_for_job_insert(closed.put)
        q.listen_for_job_insert(heard.put)
        q.add_job("first")
        take(closed)
        subscription.close()
        subscription.close()
        q.add_job("second")
        assert [job.task_name for job in take(heard, 2)] == ["first", "second"]
    assert closed.empty()


def test_a_callback_may_close_its_own_subscription(q: Queuer) -> None:
    once: Heard = Queue()
    heard: Heard = Queue()

    def first_only(job: Job) -> None:
        once.put(job)
        subscription.close()

    with q:
        subscription = q.listen_for_job_insert(first_only)
        q.listen_for_job_insert(heard.put)
        q.add_jobs(BatchJob("task") for _ in range(3))
        take(heard, 3)
    assert once.qsize() == 1


def test_before_start_they_are_kept_until_then(make_queuer: Any) -> None:
    q, other = make_queuer(), make_queuer()
    heard: Heard = Queue()
    q.listen_for_job_insert(heard.put)
    other.add_job("before")
    waiter = threading.Thread(target=q.wait_for_job_added, args=[10])  # which does listen, but for itself alone
    waiter.start()
    eventually(lambda: other.add_job("before") and not waiter.is_alive())
    with q:
        other.add_job("after")
        assert take(heard)[0].task_name == "after"
    assert heard.empty()


def test_they_survive_a_stop_and_another_start(q: Queuer) -> None:
    heard: Heard = Queue()
    q.listen_for_job_insert(heard.put)
    for name in ("first", "second"):
        with q:
            q.add_job(name)
            assert take(heard)[0].task_name == name


def test_a_callback_may_stop_its_queuer(q: Queuer) -> None:
    before = threading.active_count()
    stopped = threading.Event()

    def stop(_job: Job) -> None:
        q.stop()
        stopped.set()

    subscription = q.listen_for_job_insert(stop)
    q.start()
    q.add_job("task")
    assert stopped.wait(10)
    eventually(lambda: q.get_jobs() and threading.active_count() == before)
    subscription.close()
    with q:
        assert q.get_worker(q.get_current_worker_rid()).status == "RUNNING"


def test_a_static_queuer_listens_at_once(config: DatabaseConfiguration, make_queuer: Any) -> None:
    before = threading.active_count()
    q = new_static_queuer(config)
    try:
        heard: Heard = Queue()
        subscription = q.listen_for_job_insert(heard.put)
        job = make_queuer().add_job("task")
        assert take(heard)[0].rid == job.rid
        subscription.close()
        assert threading.active_count() == before
    finally:
        q.stop()


def test_what_can_not_be_called_is_refused(q: Queuer) -> None:
    for listen in (q.listen_for_job_insert, q.listen_for_job_update, q.listen_for_job_delete):
        for nonsense in (None, "fn", 5):
            with pytest.raises(
                TypeError, match=f"{nonsense!r} can't be called when jobs change; allowed is a function"
            ):
                listen(nonsense)  # type: ignore[arg-type]


def test_waiting_for_an_added_job_returns_it(make_queuer: Any) -> None:
    q, other = make_queuer(), make_queuer()
    found: Heard = Queue()
    waiter = threading.Thread(target=lambda: found.put(q.wait_for_job_added(timeout_seconds=10)))
    waiter.start()
    added = []
    eventually(lambda: added.append(other.add_job("task").rid) or not waiter.is_alive())
    assert take(found)[0].rid in added


def test_waiting_for_an_added_job_ends_with_none_after_the_timeout(q: Queuer) -> None:
    before = threading.active_count()
    assert q.wait_for_job_added(timeout_seconds=0) is None
    assert q.wait_for_job_added(timeout_seconds=0.05) is None
    assert asyncio.run(q.wait_for_job_added_async(timeout_seconds=0.05)) is None
    assert threading.active_count() == before


def test_a_coroutine_waits_for_an_added_job(make_queuer: Any) -> None:
    q, other = make_queuer(), make_queuer()

    async def wait() -> None:
        waiting = asyncio.create_task(q.wait_for_job_added_async(timeout_seconds=10))
        added = set()
        while not waiting.done():
            added.add((await other.add_job_async("task")).rid)
        job = await waiting
        assert job is not None
        assert job.rid in added

    asyncio.run(wait())


def test_a_coroutine_that_waits_for_an_added_job_can_be_cancelled(q: Queuer) -> None:
    async def wait() -> None:
        async with asyncio.timeout(0.1):
            await q.wait_for_job_added_async(timeout_seconds=3600)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())
