import logging
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from msgspec import structs
from sqlalchemy import func, select, update
from support.jobs import FAILURE, FIRST, SECOND, failed, new_job, succeeded, to_retry

from queuer import Job, JobArchive, JobStatus
from queuer.database.database import Database
from queuer.operations.enqueue import adding
from queuer.operations.finish import finish
from queuer.repositories import upkeep
from queuer.repositories.claims import claim
from queuer.repositories.held import give_back
from queuer.values import ClaimedJob, Outcome, Verdict


@pytest.fixture
def taken(database: Database) -> ClaimedJob:
    database.run(adding(new_job("task")))
    (taken,) = database.run(lambda session: claim(session, FIRST, ["task"], limit=1))
    return taken


def cancelled(job: ClaimedJob) -> Outcome:
    return Outcome(job, Verdict.CANCELLED, 0.5, failure=FAILURE)


@pytest.mark.parametrize("end", [succeeded, failed, cancelled, to_retry])
def test_what_is_written_once_more_because_the_answer_was_lost_is_not_called_dropped(
    database: Database, taken: ClaimedJob, end: Callable[[ClaimedJob], Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="queuer"):
        for _ in range(2):
            finish(database, FIRST, [end(taken)])
    assert "dropped" not in caplog.text
    assert f"of job {taken.rid}, attempt 1, had been written before" in caplog.text


def test_of_two_attempts_at_a_job_in_one_write_the_lost_one_plans_nothing_and_is_named(
    database: Database, taken: ClaimedJob, caplog: pytest.LogCaptureFixture
) -> None:
    """The job was given back and taken again while the outcome of the first attempt waited to be written."""
    database.run(lambda session: give_back(session, FIRST))
    (again,) = database.run(lambda session: claim(session, FIRST, ["task"], limit=1))
    lost = structs.replace(succeeded(taken), next_run_at=datetime.now(UTC))
    finish(database, FIRST, [lost, succeeded(again)])
    assert database.run(lambda session: session.scalar(select(func.count()).select_from(Job))) == 0
    assert f"dropped the outcome SUCCEEDED of job {taken.rid}, attempt 1" in caplog.text
    assert "attempt 2" not in caplog.text


def unbegun(job: ClaimedJob) -> Outcome:
    return Outcome(job, Verdict.UNBEGUN, 0.2)


def test_a_job_for_which_no_slot_came_free_is_queued_again(database: Database, taken: ClaimedJob) -> None:
    database.run(adding(new_job("task")))
    (other,) = database.run(lambda session: claim(session, FIRST, ["task"], limit=1))
    finish(database, FIRST, [unbegun(taken), succeeded(other)])
    (job,) = database.run(lambda session: list(session.scalars(select(Job))))
    assert (job.id, job.status, job.worker_rid, job.attempts, job.failures) == (taken.id, JobStatus.QUEUED, None, 1, [])
    (again,) = database.run(lambda session: claim(session, SECOND, ["task"], limit=1))
    assert again.attempt == 2


def test_but_not_one_that_is_another_workers_by_now(
    database: Database, taken: ClaimedJob, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is anything lost then: nobody has to know."""
    finish(database, FIRST, [unbegun(taken)])
    (again,) = database.run(lambda session: claim(session, SECOND, ["task"], limit=1))
    finish(database, FIRST, [unbegun(taken)])
    assert caplog.text == ""
    assert database.run(lambda session: session.scalar(select(Job.status))) is JobStatus.RUNNING
    finish(database, SECOND, [succeeded(again)])


def test_and_one_that_was_cancelled_while_it_waited_has_ended(database: Database, taken: ClaimedJob) -> None:
    database.run(lambda session: session.execute(update(Job).values(cancel_requested_at=func.now())))
    finish(database, FIRST, [unbegun(taken)])
    assert database.run(lambda session: session.scalar(select(JobArchive.status))) is JobStatus.CANCELLED


@pytest.mark.parametrize("end", [succeeded, failed, cancelled, to_retry])
def test_what_comes_too_late_for_a_job_that_failed_as_lost_is_dropped(
    database: Database, taken: ClaimedJob, end: Callable[[ClaimedJob], Outcome], caplog: pytest.LogCaptureFixture
) -> None:
    database.run(lambda session: session.execute(update(Job).values(losses=upkeep.MOST_LOSSES)))
    assert database.run(upkeep.fail_orphans) == {taken.rid}
    with caplog.at_level(logging.INFO, logger="queuer"):
        finish(database, FIRST, [end(taken)])
    assert f"dropped the outcome {end(taken).verdict.name} of job {taken.rid}, attempt 1" in caplog.text
    assert "written before" not in caplog.text
