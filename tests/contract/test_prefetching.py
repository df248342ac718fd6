"""While it drains a backlog of short tasks, a worker takes a few jobs for the slots that come free next."""

from typing import Any

import pytest
from support.contract import Gate, eventually

from queuer import BatchJob, Job, JobStatus, Queuer

SLOTS = 4


class Backlog:
    """Many short jobs; then long ones, for all slots of the worker; then short ones."""

    def __init__(self, q: Queuer) -> None:
        self.q = q
        self.gate = Gate()
        q.add_task_with_name(lambda: None, "short")
        q.add_task_with_name(self.gate, "long")
        self.before = q.add_jobs(BatchJob("short") for _ in range(300))
        self.long = q.add_jobs(BatchJob("long") for _ in range(SLOTS))
        self.behind = q.add_jobs(BatchJob("short") for _ in range(2 * SLOTS))

    def drain(self) -> None:
        """Returns when the long ones run."""
        self.q.start()
        for _ in range(SLOTS):
            self.gate.wait_entered()


@pytest.fixture
def backlog(make_queuer: Any) -> Backlog:
    return Backlog(make_queuer(max_concurrency=SLOTS))


def given_back(q: Queuer) -> list[Job]:
    """Those that wait, once none of them counts as running any more."""
    jobs = q.get_jobs()
    queued = [job for job in jobs if job.status is JobStatus.QUEUED]
    return queued if len(jobs) == 3 * SLOTS and len(queued) == 2 * SLOTS else []


def test_those_for_which_no_slot_comes_free_run_elsewhere(backlog: Backlog, make_queuer: Any) -> None:
    backlog.drain()
    behind = eventually(lambda: given_back(backlog.q))
    assert {job.attempts for job in behind} <= {0, 1}
    assert 1 in {job.attempts for job in behind}, "none was taken for the slots that come free"
    other = make_queuer()
    other.add_task_with_name(lambda: None, "short")
    other.start()
    for rid in backlog.behind:
        ended = other.wait_for_job_finished(rid, 10)
        assert ended is not None
        assert ended.status is JobStatus.SUCCEEDED
    backlog.gate.go_on.set()


def test_a_worker_that_stops_gives_them_back_at_once(backlog: Backlog) -> None:
    backlog.drain()
    backlog.q.stop(timeout=0)
    jobs: list[Job] = backlog.q.get_jobs()
    assert {job.rid for job in jobs} == {*backlog.long, *backlog.behind}
    assert {job.status for job in jobs} == {JobStatus.QUEUED}


def test_they_do_not_run_before_there_is_a_slot(backlog: Backlog) -> None:
    backlog.drain()
    assert {job.rid for job in backlog.q.get_jobs_ended(entries=1000)} <= {*backlog.before}
    backlog.gate.go_on.set()
