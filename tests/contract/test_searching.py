"""The contract's searches and the lists of workers and connections, on the public API alone."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from support.contract import Gate, ended

from queuer import JobStatus, MasterSettings, OnError, Queuer, WorkerStatus, new_queuer_with_db


@pytest.fixture
def jobs(q: Queuer) -> dict[str, UUID]:
    names = ["Send_Mail", "sendXmail", "100%", "100 percent", "a\\b"]
    return {name: q.add_job(name).rid for name in names}


@pytest.mark.parametrize(
    ("searched", "found"),
    [
        ("mail", ["sendXmail", "Send_Mail"]),
        ("SEND", ["sendXmail", "Send_Mail"]),
        ("send_mail", ["Send_Mail"]),
        ("%", ["100%"]),
        ("_", ["Send_Mail"]),
        ("\\", ["a\\b"]),
        ("/", []),
        ("queued", ["a\\b", "100 percent", "100%", "sendXmail", "Send_Mail"]),
        ("nothing like it", []),
        ("'; DROP TABLE job; --", []),
    ],
)
def test_search_looks_for_the_text_as_it_is_in_either_case(
    q: Queuer, jobs: dict[str, UUID], searched: str, found: list[str]
) -> None:
    assert [job.task_name for job in q.get_jobs_by_search(searched)] == found
    for rid in jobs.values():
        q.cancel_job(rid)
    if searched != "queued":
        assert [job.task_name for job in q.get_jobs_ended_by_search(searched)] == found


def test_search_finds_parts_of_a_rid_and_states(q: Queuer, jobs: dict[str, UUID]) -> None:
    rid = jobs["100%"]
    assert [job.rid for job in q.get_jobs_by_search(str(rid)[:18])] == [rid]
    assert [job.rid for job in q.get_jobs_by_search(str(rid)[20:].upper())] == [rid]
    q.cancel_job(rid)
    assert q.get_jobs_by_search(str(rid)) == []
    assert [job.rid for job in q.get_jobs_ended_by_search(str(rid)[:18])] == [rid]
    assert [job.rid for job in q.get_jobs_ended_by_search("cancel")] == [rid]
    assert q.get_jobs_ended_by_search("succeeded") == []


def test_searches_are_paged_newest_first(q: Queuer, jobs: dict[str, UUID]) -> None:
    page = q.get_jobs_by_search("queued", entries=2)
    assert [job.task_name for job in page] == ["a\\b", "100 percent"]
    page = q.get_jobs_by_search("queued", last_id=page[-1].id, entries=2)
    assert [job.task_name for job in page] == ["100%", "sendXmail"]
    for rid in jobs.values():
        q.cancel_job(rid)
    page = q.get_jobs_ended_by_search("cancelled", entries=4)
    assert [job.task_name for job in q.get_jobs_ended_by_search("cancelled", last_id=page[-1].id)] == ["Send_Mail"]


@pytest.mark.parametrize("text", [None, 5, "a\0b", b"bytes"])
def test_a_text_that_is_none_is_refused(q: Queuer, text: Any) -> None:
    for search in (q.get_jobs_by_search, q.get_jobs_ended_by_search, q.get_workers_by_search):
        with pytest.raises(ValueError, match="the text to search for is .*; allowed is a str without NUL"):
            search(text)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"last_id": -1}, "last_id is -1"), ({"entries": 0}, "entries is 0"), ({"entries": 1001}, "entries is 1001")],
)
def test_pages_that_make_no_sense_are_refused(q: Queuer, arguments: dict[str, int], says: str) -> None:
    for page in (q.get_jobs_by_search, q.get_jobs_ended_by_search, q.get_workers_by_search):
        with pytest.raises(ValueError, match=says):
            page("text", **arguments)
    with pytest.raises(ValueError, match=says):
        q.get_workers(**arguments)
    with pytest.raises(ValueError, match=says):
        q.get_jobs_by_worker_rid(uuid4(), **arguments)


def test_the_jobs_of_a_worker_are_those_that_it_runs(make_queuer: Any) -> None:
    q, other = make_queuer(max_concurrency=3), make_queuer()
    gate = Gate()
    q.add_task_with_name(gate, "task")
    with q:
        jobs = [q.add_job("task") for _ in range(3)]
        q.add_job("nobody has it")
        for _ in jobs:
            gate.wait_entered()
        rid = q.get_current_worker_rid()
        rids = [job.rid for job in jobs][::-1]
        page = other.get_jobs_by_worker_rid(rid, entries=2)
        assert [job.rid for job in page] == rids[:2]
        assert {(job.status, job.worker_rid) for job in page} == {(JobStatus.RUNNING, rid)}
        assert [job.rid for job in other.get_jobs_by_worker_rid(str(rid), last_id=page[-1].id)] == rids[2:]
        assert other.get_jobs_by_worker_rid(other.get_current_worker_rid()) == []
        gate.go_on.set()
        for job in jobs:
            ended(q, job)
        assert other.get_jobs_by_worker_rid(rid) == []


def test_a_worker_tells_what_it_is(make_queuer: Any) -> None:
    q = make_queuer(OnError(timeout=5), max_concurrency=7)
    q.add_task_with_name(lambda: None, "task")
    rid = q.get_current_worker_rid()
    worker = q.add_next_interval_func_with_name(lambda at, _count: at, "later")
    assert worker.rid == rid
    assert (worker.name, worker.status, worker.max_concurrency) == ("test", WorkerStatus.READY, 7)
    assert (worker.tasks, worker.next_interval_funcs) == (["task"], ["later"])
    with q:
        assert q.get_worker(str(rid)).status is WorkerStatus.RUNNING
    stopped = q.get_worker(rid)
    assert stopped.status is WorkerStatus.STOPPED
    assert stopped.heartbeat_at > worker.heartbeat_at


def test_workers_are_listed_newest_first_and_searched(config: Any, make_queuer: Any) -> None:
    names = ["alpha", "beta_1", "BETA%"]
    queuers = [new_queuer_with_db(name, 1, "", config) for name in names]
    try:
        q = queuers[0]
        assert [worker.name for worker in q.get_workers()] == names[::-1]
        page = q.get_workers(entries=2)
        assert [worker.name for worker in q.get_workers(last_id=page[-1].id)] == ["alpha"]
        assert [worker.name for worker in q.get_workers_by_search("beta")] == ["BETA%", "beta_1"]
        assert [worker.name for worker in q.get_workers_by_search("%")] == ["BETA%"]
        assert [worker.name for worker in q.get_workers_by_search("_")] == ["beta_1"]
        assert [worker.name for worker in q.get_workers_by_search("ready", entries=1)] == ["BETA%"]
        rid = str(q.get_current_worker_rid())
        assert [worker.name for worker in q.get_workers_by_search(rid[:18])] == ["alpha"]
    finally:
        for each in queuers:
            each.stop()


def test_connections_are_those_of_queuers_to_this_database(q: Queuer, config: Any) -> None:
    with q:
        found = q.get_connections()
    names = {connection.application_name for connection in found}
    assert {"queuer test", "queuer test heartbeat", "queuer listener"} <= names
    assert {connection.database for connection in found} == {config.database}
    assert {connection.username for connection in found} == {config.username}
    assert len({connection.pid for connection in found}) == len(found)
    assert "active" in {connection.state for connection in found}  # the one that asks


def test_the_master_is_nobody_until_somebody_starts(q: Queuer) -> None:
    master = q.get_master()
    assert (master.worker_rid, master.elected_at) == (None, None)
    settings = MasterSettings()
    assert master.retention_archive == settings.retention_archive
    assert master.worker_stale_after == settings.worker_stale_after
