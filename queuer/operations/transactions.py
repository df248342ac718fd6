"""The transactions that tasks with a session write in, and in which their jobs end."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from queuer.database.database import Database
from queuer.database.transactions import AsyncTaskTransaction, TaskTransaction
from queuer.operations.finish import finish_within
from queuer.values import Outcome

#: Says when the series of a recurring job goes on.
Plan = Callable[[Outcome], Outcome]


class JobTransaction:
    """For one attempt of a task in a thread. `worker.transactions.Transaction` says what each method does."""

    def __init__(self, database: Database, worker_rid: UUID, plan: Plan, session_class: type[Any]) -> None:
        self._transaction = TaskTransaction(database, session_class)
        self._worker_rid = worker_rid
        self._plan = plan
        self.session = self._transaction.session
        self.cancel = self._transaction.cancel
        self.abandon = self._transaction.abandon

    @property
    def is_lost(self) -> bool:
        return self._transaction.is_lost

    def complete(self, outcome: Outcome) -> bool:
        planned = self._plan(outcome)
        return self._transaction.commit_with(lambda session: finish_within(session, self._worker_rid, planned))


class AsyncJobTransaction:
    """`JobTransaction` for a coroutine."""

    def __init__(self, transaction: AsyncTaskTransaction, worker_rid: UUID, plan: Plan) -> None:
        self._transaction = transaction
        self._worker_rid = worker_rid
        self._plan = plan
        self.session = transaction.session
        self.abandon = transaction.abandon

    @classmethod
    async def begin(
        cls, database: Database, worker_rid: UUID, plan: Plan, session_class: type[Any]
    ) -> "AsyncJobTransaction":
        return cls(await AsyncTaskTransaction.begin(database, session_class), worker_rid, plan)

    @property
    def is_lost(self) -> bool:
        return self._transaction.is_lost

    async def complete(self, outcome: Outcome) -> bool:
        planned = self._plan(outcome)
        return await self._transaction.commit_with(lambda session: finish_within(session, self._worker_rid, planned))
