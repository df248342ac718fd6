"""The contract's listeners: what their callbacks may do, and how long they are called."""

import asyncio
import logging
import threading
from queue import Queue
from typing import Any

import pytest
from support.contract import eventually

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    Job,
    Queuer,
    new_static_queuer,
)

Heard = Queue[Any]


def take(heard: Heard, count: int = 1) -> list[Any]:
    return [heard.get(timeout=10) for _ in range(count)]


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
