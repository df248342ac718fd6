"""Attempts in a transaction, when there is none to be had."""

import asyncio
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from support.jobs import claimed

from queuer.errors import DatabaseUnavailable
from queuer.tasks import Task
from queuer.values import Outcome, Verdict
from queuer.worker.attempt import Attempt
from queuer.worker.event_loop import call_async
from queuer.worker.threads import call
from queuer.worker.transactions import Transactions, in_async_transaction, in_transaction


def write(session: Session) -> None:
    raise AssertionError("it has no session")


async def write_async(session: AsyncSession) -> None:
    raise AssertionError("it has no session")


def _run(error: Exception, *, is_async: bool) -> Outcome:
    def begin(_: type[Any]) -> Any:
        raise error

    transactions = Transactions(begin, begin)
    attempt = Attempt(claimed("task"), Task("task", write_async if is_async else write), None)
    if is_async:
        outcome = asyncio.run(in_async_transaction(attempt, transactions, call_async))
    else:
        outcome = in_transaction(attempt, transactions, call)
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("is_async", [True, False])
def test_without_a_connection_the_job_runs_later_which_is_no_failure(is_async: bool) -> None:
    outcome = _run(DatabaseUnavailable("away"), is_async=is_async)
    assert (outcome.verdict, outcome.failure) == (Verdict.RETRY, None)
    assert outcome.delay > 0


@pytest.mark.parametrize("is_async", [True, False])
def test_a_session_that_can_not_be_made_is_a_failure(is_async: bool) -> None:
    outcome = _run(TypeError("this class takes a tenant"), is_async=is_async)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.message == "this class takes a tenant"
