"""Attempts whose task gets a session: what it writes and the end of its job are one transaction."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from queuer.errors import DatabaseUnavailable
from queuer.values import Outcome, Verdict
from queuer.worker.attempt import Attempt, ending_of

#: Attempts at a job that may come to nothing, for whatever reason but its own, before a broken connection is a failure.
MOST_FRUITLESS = 10


class Transaction(Protocol):
    """The transaction of one attempt."""

    session: Any

    @property
    def is_lost(self) -> bool:
        """Whether the connection broke while the task ran."""

    def cancel(self) -> None:
        """Ends what the task waits for in the database. From any thread."""

    def complete(self, outcome: Outcome) -> bool:
        """Commits what the task wrote along with the end of its job.

        False = the job was given to another worker or cancelled, and all is rolled back.

        Raises:
            DatabaseUnavailable: It could not be committed, or nobody knows whether it was.
        """

    def abandon(self, *, is_broken: bool) -> None:
        """Rolls back. `is_broken` = the task was interrupted, and the connection may be in any state."""


class AsyncTransaction(Protocol):
    """`Transaction` for a coroutine, whose own cancelling ends what it waits for."""

    session: Any

    @property
    def is_lost(self) -> bool: ...

    async def complete(self, outcome: Outcome) -> bool: ...

    async def abandon(self, *, is_broken: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Transactions:
    """Begin one, with a session of the class that is given. Raise `DatabaseUnavailable`."""

    begin: Callable[[type[Any]], Transaction]
    begin_async: Callable[[type[Any]], Awaitable[AsyncTransaction]]


def in_transaction(
    attempt: Attempt, transactions: Transactions, call: Callable[[Attempt], Outcome | None]
) -> Outcome | None:
    """Runs an attempt in a transaction of its own. Returns what is left to be written, if anything is."""
    assert attempt.task.session is not None  # noqa: S101 - for the type checker
    try:
        transaction = transactions.begin(attempt.task.session.session_class)
    except DatabaseUnavailable:
        return attempt.once_more()
    except Exception as error:  # noqa: BLE001 - the session's class may be the user's
        return attempt.settle(ending_of(None, error))
    attempt.join(transaction.session, transaction.cancel)
    outcome = call(attempt)
    if not _has_succeeded(outcome):
        is_lost = transaction.is_lost
        transaction.abandon(is_broken=attempt.interrupted_by is not None)
        return _without_database(attempt, outcome) if is_lost else outcome
    try:
        # Else the outcome is written like any other: it is dropped if the job is not ours, and cancelled if it was.
        return None if transaction.complete(outcome) else outcome
    except DatabaseUnavailable as error:
        # Either is dropped if it was committed after all.
        return _without_database(attempt, attempt.settle(ending_of(None, error)))
    except Exception as error:  # noqa: BLE001 - a constraint of the user's tables
        return attempt.settle(ending_of(None, error))


async def in_async_transaction(
    attempt: Attempt, transactions: Transactions, call: Callable[[Attempt], Awaitable[Outcome | None]]
) -> Outcome | None:
    """`in_transaction` for a coroutine."""
    assert attempt.task.session is not None  # noqa: S101 - for the type checker
    try:
        transaction = await transactions.begin_async(attempt.task.session.session_class)
    except DatabaseUnavailable:
        return attempt.once_more()
    except Exception as error:  # noqa: BLE001
        return attempt.settle(ending_of(None, error))
    attempt.join(transaction.session)
    outcome = await call(attempt)
    if not _has_succeeded(outcome):
        is_lost = transaction.is_lost
        await transaction.abandon(is_broken=attempt.interrupted_by is not None)
        return _without_database(attempt, outcome) if is_lost else outcome
    try:
        return None if await transaction.complete(outcome) else outcome
    except DatabaseUnavailable as error:
        return _without_database(attempt, attempt.settle(ending_of(None, error)))
    except Exception as error:  # noqa: BLE001
        return attempt.settle(ending_of(None, error))


def _has_succeeded(outcome: Outcome | None) -> TypeGuard[Outcome]:
    return outcome is not None and outcome.verdict is Verdict.SUCCEEDED


def _without_database(attempt: Attempt, outcome: Outcome | None) -> Outcome | None:
    """What becomes of a job whose connection broke under its task or at the commit: it runs once more, which is no
    failure. Unless that came about often: then it may be the job that breaks it.
    """
    if outcome is None or attempt.interrupted_by is not None or attempt.fruitless >= MOST_FRUITLESS:
        return outcome
    return attempt.once_more()
