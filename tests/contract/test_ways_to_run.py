"""The contract's "Lifecycle": queuers that run nothing, `with`, `run()`, and stopping from within."""

import asyncio
import re
import threading
from contextlib import ExitStack
from dataclasses import replace
from queue import Queue
from typing import Any

import pytest
from support.servers import Databases

import queuer
from queuer import (
    BatchJob,
    DatabaseConfiguration,
    JobNotFound,
    JobStatus,
    Queuer,
    QueuerError,
    WorkerStatus,
    new_queuer_with_db,
    new_static_queuer,
)


def test_a_task_may_use_its_queuer_while_it_stops(q: Queuer) -> None:
    entered, stopping = threading.Event(), threading.Event()

    @q.task
    def task() -> object:
        entered.set()
        stopping.wait(5)
        q.add_task_with_name(lambda: None, "more")
        return q.wait_for_job_finished(q.add_job("nobody has it").rid, timeout_seconds=0)

    q.start()
    job = q.add_job(task)
    entered.wait(5)
    stopper = threading.Thread(target=q.stop)
    stopper.start()
    while "stopping" not in repr(q):
        pass
    stopping.set()
    stopper.join(timeout=5)
    assert not stopper.is_alive()
    assert q.get_job_ended(job.rid).result is None


def test_start_without_worker_takes_no_jobs_but_listens(make_queuer: Any) -> None:
    q, other = make_queuer(), make_queuer()
    heard: Queue[Any] = Queue()
    q.add_task_with_name(lambda: "here", "task")
    other.add_task_with_name(lambda: "there", "task")
    q.listen_for_job_delete(heard.put)
    q.start_without_worker()
    with pytest.raises(QueuerError, match="runs already"):
        q.start()
    job = q.add_job("task")
    with other:
        assert heard.get(timeout=10).rid == job.rid
    assert q.get_job_ended(job.rid).result == "there"
    q.stop()
    q.start()


def test_a_static_queuer_adds_finds_waits_and_cancels_and_is_no_worker(config: DatabaseConfiguration) -> None:
    before = threading.active_count()
    q = new_static_queuer(config)
    try:
        q.add_task_with_name(lambda n: n, "task")
        job = q.add_job("task", 1)
        assert q.get_job(job.rid).rid == job.rid
        assert q.wait_for_job_finished(job.rid, timeout_seconds=0) is None
        assert q.cancel_job(job.rid).status is JobStatus.CANCELLED
        assert q.get_job_ended(job.rid).status is JobStatus.CANCELLED
        assert q.add_jobs([BatchJob("task", [2])]) == [q.get_jobs()[0].rid]
        assert q.get_workers() == []
        assert not hasattr(q, "start")
        with pytest.raises(TypeError):
            q.add_job("task", {1})
    finally:
        q.stop()
        q.stop()
    assert threading.active_count() == before


def test_with_and_async_with_start_and_stop(q: Queuer) -> None:
    q.add_task_with_name(lambda: "done", "task")
    rid = q.get_current_worker_rid()

    async def main() -> None:
        async with q as same:
            assert same is q
            job = await q.add_job_async("task")
            done = await q.wait_for_job_finished_async(job.rid, 10)
            assert done is not None
            assert done.result == "done"

    asyncio.run(main())
    assert q.get_worker(rid).status is WorkerStatus.STOPPED
    with q as same:
        assert same is q
        assert q.get_worker(rid).status is WorkerStatus.RUNNING
    assert q.get_worker(rid).status is WorkerStatus.STOPPED


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_task_can_not_stop_the_queuer_that_runs_it(q: Queuer, kind: str) -> None:
    def stop() -> None:
        q.stop()

    async def stop_async() -> None:
        q.stop()

    q.add_task_with_name(stop if kind == "sync" else stop_async, "stop")
    with q:
        job = q.wait_for_job_finished(q.add_job("stop").rid, timeout_seconds=10)
    assert job is not None
    assert job.error == (
        "QueuerError: a task can't stop the queuer that runs it; use stop_worker(get_current_worker_rid())"
    )


def test_a_task_may_stop_another_queuer(make_queuer: Any) -> None:
    q, other = make_queuer(), make_queuer()
    q.add_task_with_name(other.stop, "stop")
    other.start()
    with q:
        job = q.wait_for_job_finished(q.add_job("stop").rid, timeout_seconds=10)
    assert job is not None
    assert job.error is None
    assert q.get_worker(other.get_current_worker_rid()).status is WorkerStatus.STOPPED


@pytest.mark.owner
@pytest.mark.parametrize("apart", ["schema", "database"])
def test_two_queuers_apart_do_not_get_each_others_events(
    config: DatabaseConfiguration, databases: Databases, apart: str
) -> None:
    with ExitStack() as then:
        other = replace(config, schema="other") if apart == "schema" else then.enter_context(databases.migrated())
        queuers = [new_queuer_with_db("test", 1, "", each) for each in (config, other)]
        heard: list[Queue[Any]] = [Queue(), Queue()]
        for q, mine in zip(queuers, heard, strict=True):
            then.callback(q.stop)
            q.add_task_with_name(lambda: None, "task")
            for listen in (q.listen_for_job_insert, q.listen_for_job_update, q.listen_for_job_delete):
                listen(mine.put)
            q.start()
        rids = []
        for q, mine in zip(queuers, heard, strict=True):
            rids.append(q.add_job("task").rid)
            for _ in range(3):
                assert mine.get(timeout=10).rid == rids[-1]
        assert [mine.empty() for mine in heard] == [True, True]
        assert [q.get_master().worker_rid for q in queuers] == [q.get_current_worker_rid() for q in queuers]
        with pytest.raises(JobNotFound):
            queuers[0].get_job(rids[1])


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("-inf"), "5", None, True, [], 1j])
def test_timeouts_that_make_no_sense_are_refused(q: Queuer, timeout: Any) -> None:
    says = rf"the timeout is {re.escape(repr(timeout))}; allowed is a number of seconds, 0 or more"
    job = q.add_job("nobody has it")
    calls: list[Any] = [
        lambda: q.stop(timeout),
        lambda: q.wait_for_job_finished(job.rid, timeout),
        lambda: q.wait_for_job_added(timeout),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=says):
            call()


@pytest.mark.parametrize("timeout", [1e300, float("inf"), 10**400])
def test_huge_timeouts_wait_as_long_as_it_takes(make_queuer: Any, timeout: float) -> None:
    q = make_queuer()
    q.add_task_with_name(lambda: "done", "task")
    q.start()
    job = q.add_job("task")
    done = q.wait_for_job_finished(job.rid, timeout)
    assert done is not None
    assert asyncio.run(q.wait_for_job_finished_async(job.rid, timeout)) is not None
    q.stop(timeout)


def test_every_name_of_the_contract_can_be_imported() -> None:
    built = """
        Queuer new_queuer new_queuer_with_db new_static_queuer DatabaseConfiguration Job JobArchive JobStatus Task task
        BatchJob Worker WorkerStatus Master MasterSettings OnError RetryBackoff Options Schedule current_job QueuerError
        ConfigurationError DatabaseUnavailable JobNotFound WorkerNotFound NoCurrentJob TaskNotRegistered
        TaskAlreadyRegistered InvalidParameters JobTimeout JobCancelled WorkerLost SchemaTooNew Subscription
    """
    assert set(built.split()) <= set(queuer.__all__)
    assert all(hasattr(queuer, name) for name in queuer.__all__)
