from datetime import timedelta
from uuid import uuid4

import pytest
from msgspec import structs
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session
from support.jobs import FAILURE, FIRST, SECOND, failed, new_job, succeeded, to_retry

from queuer import Job, JobArchive, JobStatus, Options
from queuer.repositories import archive, jobs, results
from queuer.repositories.claims import claim
from queuer.values import ClaimedJob, Page

HALF_A_SECOND = timedelta(seconds=0.5)


def claim_new(session: Session, count: int = 1) -> list[ClaimedJob]:
    for n in range(count):
        jobs.insert_one(session, new_job("task", n, options=Options(metadata={"n": n})))
    return claim(session, FIRST, ["task"], limit=count)


def test_a_job_leaves_one_table_and_enters_the_other_as_it_was(session: Session) -> None:
    (taken,) = claim_new(session)
    before = jobs.find(session, taken.rid)
    assert before is not None
    common = [column.name for column in Job.__table__.columns if column.name not in ("status", "cancel_requested_at")]
    expected = {name: value for name, value in _row(before).items() if name in common}
    assert results.archive(session, FIRST, [succeeded(taken, '[{"a": 1}]')]) == {taken.rid}
    session.expire_all()
    assert jobs.find(session, taken.rid) is None
    (ended,) = archive.find(session, [taken.rid])
    assert {name: value for name, value in _row(ended).items() if name in common} == expected
    assert (ended.status, ended.result, ended.results, ended.error) == (JobStatus.SUCCEEDED, {"a": 1}, [{"a": 1}], None)
    assert ended.started_at is not None
    assert ended.ended_at - ended.started_at == HALF_A_SECOND


def _row(record: Job | JobArchive) -> dict[str, object]:
    table = record.__table__
    return {
        column.name: getattr(record, "options_json" if column.name == "options" else column.name)
        for column in table.columns
    }


def test_a_failure_is_kept_with_its_attempt(session: Session) -> None:
    (taken,) = claim_new(session)
    results.archive(session, FIRST, [failed(taken)])
    (ended,) = archive.find(session, [taken.rid])
    assert (ended.status, ended.error, ended.results, ended.result) == (JobStatus.FAILED, "ValueError: no", None, None)
    (failure,) = ended.failures
    assert failure["attempt"] == 1
    assert failure["worker_rid"] == str(FIRST)
    assert {failure["type"], failure["message"], failure["traceback"]} == {"ValueError", "no", FAILURE.traceback}
    assert failure["started_at"] < failure["ended_at"]


def test_many_outcomes_are_one_statement(session: Session) -> None:
    taken = claim_new(session, 5)
    outcomes = [succeeded(job, job.parameters) for job in taken[:4]] + [failed(taken[4])]
    assert results.archive(session, FIRST, outcomes) == {job.rid for job in taken}
    ended = archive.page(session, Page())
    assert [job.result for job in ended] == [None, 3, 2, 1, 0]
    assert [job.status for job in archive.page(session, Page(status=JobStatus.FAILED))] == ["FAILED"]
    assert archive.page(session, Page(last_id=ended[-1].id)) == []


def test_seconds_may_be_whole_or_not(session: Session) -> None:
    taken = claim_new(session, 2)
    outcomes = [structs.replace(to_retry(job), delay=delay) for job, delay in zip(taken, [60, 0.5], strict=True)]
    assert results.reschedule(session, FIRST, outcomes) == {job.rid for job in taken}


@pytest.mark.parametrize("same", [False, True], ids=["each its own", "all the same"])
def test_each_job_gets_its_own_outcome_in_whatever_order_they_end(session: Session, *, same: bool) -> None:
    taken = claim_new(session, 20)
    outcomes = [structs.replace(succeeded(job, "[null]" if same else job.parameters), elapsed=job.id) for job in taken]
    shuffled = outcomes[7:] + outcomes[6::-1]
    assert results.archive(session, FIRST, shuffled) == {job.rid for job in taken}
    ended = archive.page(session, Page())[::-1]
    assert [job.result for job in ended] == [None if same else n for n in range(20)]
    assert all(job.ended_at - (job.started_at or job.ended_at) == timedelta(seconds=job.id) for job in ended)


@pytest.mark.parametrize("write", [results.archive, results.reschedule])
@pytest.mark.parametrize("order", [1, -1], ids=["the old one first", "the old one last"])
def test_of_two_jobs_that_were_given_one_id_the_one_that_is_there_counts(
    session: Session, write: object, order: int
) -> None:
    """A failover that lost the last jobs gives their ids to others."""
    taken = claim_new(session, 3)
    lost = [failed(structs.replace(job, rid=uuid4())) for job in taken]
    assert callable(write)
    assert write(session, FIRST, [*lost, *(succeeded(job, "[1]") for job in taken)][::order]) == {
        job.rid for job in taken
    }
    assert write(session, FIRST, []) == set()


@pytest.mark.parametrize("write", [results.archive, results.reschedule])
def test_a_job_of_another_worker_or_attempt_is_left_alone(session: Session, write: object) -> None:
    (taken,) = claim_new(session)
    assert callable(write)
    assert write(session, SECOND, [to_retry(taken)]) == set()
    assert write(session, FIRST, [to_retry(structs.replace(taken, attempt=2))]) == set()
    # A failover that lost the last jobs gives their ids to others.
    assert write(session, FIRST, [to_retry(structs.replace(taken, rid=uuid4()))]) == set()
    job = jobs.find(session, taken.rid)
    assert job is not None
    assert job.status is JobStatus.RUNNING
    assert session.scalar(select(func.count()).select_from(JobArchive)) == 0


def test_a_retry_waits_as_a_scheduled_row_and_keeps_its_history(session: Session) -> None:
    (taken,) = claim_new(session)
    assert results.reschedule(session, FIRST, [to_retry(taken, delay=0)]) == {taken.rid}
    job = jobs.find(session, taken.rid)
    assert job is not None
    assert (job.status, job.attempts, job.worker_rid, job.started_at) == (JobStatus.SCHEDULED, 1, None, None)
    assert [failure["attempt"] for failure in job.failures] == [1]


def test_a_retry_is_not_taken_before_its_delay(session: Session) -> None:
    (taken,) = claim_new(session)
    results.reschedule(session, FIRST, [to_retry(taken, delay=60)])
    assert claim(session, SECOND, ["task"], limit=1) == []


def test_an_outcome_that_is_written_twice_counts_once(session: Session) -> None:
    first, second = claim_new(session, 2)
    assert results.archive(session, FIRST, [succeeded(first)]) == {first.rid}
    assert results.archive(session, FIRST, [succeeded(first)]) == set()
    assert results.reschedule(session, FIRST, [to_retry(second)]) == {second.rid}
    assert results.reschedule(session, FIRST, [to_retry(second)]) == set()
    job = jobs.find(session, second.rid)
    assert job is not None
    assert len(job.failures) == 1


def test_old_failures_lose_their_texts_and_the_others_keep_them(session: Session) -> None:
    (taken,) = claim_new(session)
    old = f"""(SELECT jsonb_agg('{{"type": "E", "message": "m", "traceback": "t"}}'::jsonb)
        FROM generate_series(1, {results.KEPT_WHOLE}))"""
    session.execute(text(f"UPDATE public.job SET failures = {old} WHERE id = {taken.id}"))
    results.archive(session, FIRST, [failed(taken)])
    (ended,) = archive.find(session, [taken.rid])
    assert len(ended.failures) == results.KEPT_WHOLE + 1
    assert ended.failures[0] == {"type": "E"}
    assert ended.failures[1] == {"type": "E", "message": "m", "traceback": "t"}


def test_a_failure_that_is_not_kept_says_why_all_the_same(session: Session) -> None:
    (taken,) = claim_new(session)
    results.archive(session, FIRST, [structs.replace(failed(taken), is_kept=False)])
    (ended,) = archive.find(session, [taken.rid])
    assert (ended.failures, ended.error) == ([], "ValueError: no")
