"""`queuer_inline`: retries, failures, and what a task must not do to the test."""

import json
from typing import Any

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session
from support.applications import Order, items

from queuer import (
    BatchJob,
    JobArchive,
    JobStatus,
    OnError,
    Options,
    Queuer,
    QueuerError,
    current_job,
)
from queuer.operations import steer
from queuer.testing import InlineJobs

pytestmark = pytest.mark.owner  # it makes tables next to the queue's


def buy(item: str, session: Session) -> str:
    session.add(Order(item=item))
    return f"bought {item}"


def archived(session: Session) -> list[tuple[str, JobStatus, Any]]:
    rows = session.scalars(select(JobArchive).order_by(JobArchive.id))
    return [(row.task_name, row.status, row.result) for row in rows]


def test_retries_run_without_delay_up_to_the_limit(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    attempts: list[int] = []

    @q.task
    def unlucky(session: Session) -> int:
        session.add(Order(item="of a failed attempt" if len(attempts) < 2 else "kept"))
        attempts.append(current_job().attempt)
        if len(attempts) < 3:
            raise RuntimeError("again")
        return len(attempts)

    options = Options(on_error=OnError(max_retries=2, retry_delay=3600))
    q.in_session(rolled_back).add_job_with_options(options, unlucky)
    rolled_back.commit()
    (ended,) = queuer_inline.ended
    assert (ended.status, ended.result, attempts) == (JobStatus.SUCCEEDED, 3, [1, 2, 3])
    assert [failure["message"] for failure in ended.failures] == ["again", "again"]
    assert items(rolled_back) == ["kept"]


def test_what_makes_a_job_fail_is_raised_at_the_commit(
    q: Queuer, rolled_back: Session, queuer_inline: InlineJobs
) -> None:
    @q.task
    def fails() -> None:
        raise ZeroDivisionError("no")

    q.add_task(buy)
    rolled_back.add(Order(item="tea"))
    job = q.in_session(rolled_back).add_job(fails)
    q.in_session(rolled_back).add_job(buy, "milk")
    with pytest.raises(ZeroDivisionError) as raised:
        rolled_back.commit()
    assert raised.value.__notes__ == [f"raised in job {job.rid}, fails, which was run inline"]
    assert items(rolled_back) == ["tea", "milk"]
    assert [status for _, status, _ in archived(rolled_back)] == ["FAILED", "SUCCEEDED"]


def test_failures_can_be_recorded(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    @q.task
    def fails(session: Session) -> None:
        session.execute(text("SELECT 1 / 0"))

    with queuer_inline.recording_failures():
        q.in_session(rolled_back).add_job(fails)
        q.in_session(rolled_back).add_job(fails)
        rolled_back.commit()
    assert ["division by zero" in (job.error or "") for job in queuer_inline.ended] == [True, True]
    q.in_session(rolled_back).add_jobs([BatchJob(fails)] * 2)
    with pytest.raises(ExceptionGroup, match="2 jobs failed"):
        rolled_back.commit()


def test_what_the_database_refuses_fails_the_job(
    q: Queuer, rolled_back: Session, connection: Connection, queuer_inline: InlineJobs
) -> None:
    connection.execute(text("ALTER TABLE orders ADD UNIQUE (item)"))
    q.add_task(buy)
    q.in_session(rolled_back).add_jobs([BatchJob(buy, ["tea"])] * 2)
    with pytest.raises(IntegrityError):
        rolled_back.commit()
    assert items(rolled_back) == ["tea"]
    assert [job.status for job in queuer_inline.ended] == ["SUCCEEDED", "FAILED"]


def test_a_result_that_json_cant_hold_fails_the_job(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    q.add_task_with_name(lambda: {1, 2}, "unencodable")
    q.in_session(rolled_back).add_job("unencodable")
    with pytest.raises(QueuerError, match="results"):
        rolled_back.commit()


def test_a_task_that_leaves_the_tests_transaction_failed_is_told(
    q: Queuer, rolled_back: Session, queuer_inline: InlineJobs
) -> None:
    q.add_task_with_name(lambda: rolled_back.execute(text("SELECT 1 / 0")), "fails")
    q.in_session(rolled_back).add_job("fails")
    with pytest.raises(QueuerError, match="let it roll back its session") as raised:
        rolled_back.commit()
    assert isinstance(raised.value.__cause__, DBAPIError)
    rolled_back.rollback()
    assert items(rolled_back) == []


def test_a_job_that_is_cancelled_while_it_runs_has_written_nothing(
    q: Queuer, rolled_back: Session, queuer_inline: InlineJobs
) -> None:
    @q.task
    def gives_up(session: Session) -> None:
        session.add(Order(item="tea"))
        steer.cancel(session, current_job().rid)

    @q.task
    def is_given_up(session: Session) -> None:
        session.add(Order(item="tea"))
        q.cancel_job(current_job().rid)

    q.in_session(rolled_back).add_job(gives_up)
    rolled_back.commit()
    q.add_job(is_given_up)
    assert [job.status for job in queuer_inline.ended] == ["CANCELLED"] * 2
    assert items(rolled_back) == []


def test_sys_exit_fails_the_job_and_not_the_run(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    @q.task
    def leaves() -> None:
        raise SystemExit(3)

    q.in_session(rolled_back).add_job(leaves)
    with pytest.raises(QueuerError, match=r"SystemExit\(3\)"):
        rolled_back.commit()


def test_what_ends_a_test_ends_it(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    q.add_task_with_name(lambda: pytest.fail("so it does"), "checks")
    q.in_session(rolled_back).add_job("checks")
    with pytest.raises(pytest.fail.Exception):
        rolled_back.commit()


def test_a_row_that_makes_no_sense_fails_alone(q: Queuer, rolled_back: Session, queuer_inline: InlineJobs) -> None:
    q.add_task(buy)
    job = q.in_session(rolled_back).add_job(buy, "tea")
    rolled_back.execute(text("UPDATE job SET options = cast(:options AS jsonb)"), {"options": json.dumps({"a": 1})})
    with pytest.raises(ValueError, match=r"options has \['a'\]"):
        rolled_back.commit()
    assert [(ended.rid, ended.status) for ended in queuer_inline.ended] == [(job.rid, JobStatus.FAILED)]
