"""The contract's `_async` twins, on the public API alone."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text
from support.contract import Gate, eventually

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    DatabaseUnavailable,
    InvalidParameters,
    JobNotFound,
    JobStatus,
    OnError,
    Options,
    Queuer,
    TaskNotRegistered,
    new_static_queuer,
)


def connections(engine: Engine) -> int:
    ours = "FROM pg_stat_activity WHERE application_name LIKE 'queuer%' AND datname = current_database()"
    with engine.connect() as connection:
        return connection.scalar(text(f"SELECT count(*) {ours}")) or 0


def has_looked(engine: Engine) -> bool:
    with engine.connect() as connection:
        looked = "application_name = 'queuer async' AND state = 'idle' AND query ~ '^SELECT [a-z.]*job[.]id,'"
        return bool(
            connection.scalar(
                text(f"SELECT count(*) FROM pg_stat_activity WHERE {looked} AND datname = current_database()")
            )
        )


def test_jobs_added_by_coroutines_are_like_others(q: Queuer) -> None:
    options = Options(on_error=OnError(timeout=3), metadata={"of": "me"})

    async def add() -> None:
        job = await q.add_job_async("task", 1, key="word")
        assert (job.parameters, job.parameters_keyed, job.status) == ([1], {"key": "word"}, JobStatus.QUEUED)
        job = await q.add_job_with_options_async(options, "task", 2)
        assert job.options == options
        rids = await q.add_jobs_async(BatchJob("task", [n]) for n in range(300))
        assert [job.rid for job in q.get_jobs(entries=300)][::-1] == rids

    asyncio.run(add())
    assert len(q.get_jobs(entries=1000)) == 302


def test_a_batch_added_by_a_coroutine_is_all_or_none(q: Queuer) -> None:
    async def add() -> None:
        with pytest.raises(InvalidParameters) as refused:
            await q.add_jobs_async([BatchJob("task"), BatchJob("task", [float("nan")])])
        assert "in item 1 of the batch; none of its jobs was added" in refused.value.__notes__

    asyncio.run(add())
    assert q.get_jobs() == []


def test_errors_are_those_of_the_sync_twins(q: Queuer) -> None:
    async def err() -> None:
        with pytest.raises(TaskNotRegistered, match="register it with add_task"):
            await q.add_job_async(print)
        with pytest.raises(InvalidParameters):
            await q.add_job_async("task", {1, 2})
        with pytest.raises(TypeError, match="options is 5"):
            await q.add_job_with_options_async(5, "task")  # type: ignore[arg-type]
        with pytest.raises(JobNotFound, match="there is no job"):
            await q.wait_for_job_finished_async(uuid4())
        with pytest.raises(ValueError, match="rid is 'x'"):
            await q.wait_for_job_finished_async("x")
        with pytest.raises(ValueError, match="the timeout is -1"):
            await q.wait_for_job_finished_async(uuid4(), timeout_seconds=-1)
        with pytest.raises(ValueError, match="the timeout is nan"):
            await q.wait_for_job_added_async(timeout_seconds=float("nan"))

    asyncio.run(err())


def test_parameters_called_like_ours_reach_the_task(q: Queuer) -> None:
    keyed = {"task": 1, "options": 2, "session": 3, "name": 4, "timeout": 5, "self": 6}

    async def add() -> None:
        assert (await q.add_job_async("task", **keyed)).parameters_keyed == keyed
        assert (await q.add_job_with_options_async(None, "task", **keyed)).parameters_keyed == keyed

    asyncio.run(add())


def test_a_coroutine_waits_for_a_job_and_gets_its_result(q: Queuer) -> None:
    gate = Gate()
    q.add_task_with_name(gate, "task")

    async def wait() -> None:
        job = await q.add_job_async("task")
        assert await q.wait_for_job_finished_async(job.rid, timeout_seconds=0.05) is None
        waiting = [asyncio.create_task(q.wait_for_job_finished_async(job.rid, 10)) for _ in range(50)]
        await asyncio.sleep(0)
        gate.go_on.set()
        results = [found.result for found in await asyncio.gather(*waiting) if found]
        assert results == ["done"] * 50
        again = await q.wait_for_job_finished_async(str(job.rid), timeout_seconds=0)
        assert again is not None

    with q:
        asyncio.run(wait())


def test_a_coroutine_that_waits_can_be_cancelled(q: Queuer) -> None:
    async def wait() -> None:
        job = await q.add_job_async("nobody has it")
        async with asyncio.timeout(0.1):
            await q.wait_for_job_finished_async(job.rid, timeout_seconds=3600)

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_the_event_loop_is_never_blocked(q: Queuer, engine: Engine) -> None:
    q.add_task_with_name(lambda: "done", "task")

    async def while_others_go_on(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        with engine.connect() as other:  # nobody gets at the jobs for a while
            other.execute(text("LOCK TABLE job, job_archive"))
            working = asyncio.create_task(work())
            for _ in range(1000):  # would never be through if it blocked
                await asyncio.sleep(0)
            assert not working.done()
        await working

    async def main() -> None:
        job = await q.add_job_async("nobody has it")
        await while_others_go_on(lambda: q.add_job_async("task"))
        await while_others_go_on(lambda: q.add_job_with_options_async(None, "task"))
        await while_others_go_on(lambda: q.add_jobs_async([BatchJob("task")]))
        await while_others_go_on(lambda: q.wait_for_job_finished_async(job.rid, 0))
        await while_others_go_on(lambda: q.cancel_job_async(job.rid))

    asyncio.run(main())


def test_two_event_loops_use_one_queuer(q: Queuer, engine: Engine) -> None:
    q.add_task_with_name(lambda n: n, "task")
    results: list[int] = []

    async def work(start: int) -> None:
        for n in range(start, start + 10):
            job = await q.add_job_async("task", n)
            found = await q.wait_for_job_finished_async(job.rid, 10)
            assert found is not None
            results.append(found.result)

    with q:
        threads = [threading.Thread(target=lambda n=n: asyncio.run(work(n))) for n in (0, 100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        asyncio.run(work(200))
    assert sorted(results) == [*range(10), *range(100, 110), *range(200, 210)]
    eventually(lambda: connections(engine) == 0)


def test_nothing_is_left_open_when_it_stops_inside_the_loop(q: Queuer, engine: Engine) -> None:
    async def main() -> None:
        async with q:
            job = await q.add_job_async("nobody has it")
            await q.cancel_job_async(job.rid)
            await q.wait_for_job_finished_async(job.rid)

    before = threading.active_count()
    asyncio.run(main())
    assert threading.active_count() == before
    eventually(lambda: connections(engine) == 0)


def test_nothing_is_left_open_when_somebody_waits_while_it_stops(q: Queuer, engine: Engine) -> None:
    async def main() -> None:
        job = await q.add_job_async("nobody has it")
        waiting = asyncio.create_task(q.wait_for_job_finished_async(job.rid, 3600))
        await asyncio.to_thread(eventually, lambda: has_looked(engine))  # it has looked, and listens
        await asyncio.to_thread(q.stop)
        with suppress(DatabaseUnavailable):  # should it not have read the answer to its look yet
            assert await waiting is None

    asyncio.run(main())
    q.stop()
    eventually(lambda: connections(engine) == 0)


def test_the_connections_of_loops_that_have_ended_do_not_pile_up(q: Queuer, engine: Engine) -> None:
    for _ in range(5):
        asyncio.run(q.add_job_async("task"))
    eventually(lambda: connections(engine) <= 3)


def test_a_static_queuer_has_them_too(config: DatabaseConfiguration) -> None:
    async def main() -> None:
        q = new_static_queuer(config)
        job = await q.add_job_async("task")
        assert (await q.cancel_job_async(job.rid)).status is JobStatus.CANCELLED
        await asyncio.to_thread(q.stop)

    asyncio.run(main())


def test_async_tasks_use_their_queuer(q: Queuer) -> None:
    @q.task
    async def parent() -> str:
        job = await q.add_job_async("child")
        found = await q.wait_for_job_finished_async(job.rid, 10)
        assert found is not None
        return f"{found.result} {found.parent_rid is not None}"

    q.add_task_with_name(lambda: "child", "child")
    with q:
        done = q.wait_for_job_finished(q.add_job(parent).rid, 10)
    assert done is not None
    assert done.result == "child True"
