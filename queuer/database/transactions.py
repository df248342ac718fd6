"""Transactions in which a task writes and its job ends: both are committed together, or neither."""

import threading
from contextlib import AsyncExitStack, ExitStack, aclosing, suppress
from typing import Any

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from queuer.database.database import Database, Work
from queuer.database.engines import translated
from queuer.database.guests import guest

#: Seconds that asking the server to cancel a statement may take.
CANCEL_TIMEOUT = 5.0

# The task's session lives in a savepoint: should it commit or roll back by itself, the transaction goes on.
_JOINED: dict[str, Any] = {"join_transaction_mode": "create_savepoint"}
_ATOMIC = {"isolation_level": "READ COMMITTED"}


class TaskTransaction:
    """One transaction, on one connection, for one attempt.

    Args:
        session_class: Of the task's `session`.

    Raises:
        DatabaseUnavailable: There is no connection to be had.
    """

    def __init__(self, database: Database, session_class: type[Any]) -> None:
        self._config = database.config
        with translated(self._config), ExitStack() as undo:
            self._connection = undo.enter_context(database.engine.connect())
            _make_atomic(self._connection)
            self.session = session_class(bind=self._connection, **_JOINED)  # the class may be the user's
            undo.pop_all()
        self._canceller: threading.Thread | None = None

    def cancel(self) -> None:
        """Has the server cancel the statement that the task waits for, if it does. From any thread; returns at once."""
        if self._canceller is None or not self._canceller.is_alive():
            self._canceller = threading.Thread(target=self._cancel, name="queuer cancel", daemon=True)
            self._canceller.start()

    def _cancel(self) -> None:
        with suppress(Exception):  # the connection is gone, or the task closed it
            driver: Any = self._connection.connection.driver_connection
            if driver.info.transaction_status is TransactionStatus.ACTIVE:
                driver.cancel_safe(timeout=CANCEL_TIMEOUT)

    @property
    def is_lost(self) -> bool:
        """Whether the connection broke: nothing was or will be committed."""
        return self._connection.invalidated

    def commit_with(self, work: Work[bool]) -> bool:
        """Commits what the task did along with `work`; rolls back both when `work` is false or anything raises.

        Raises:
            DatabaseUnavailable: The server went away. If that was during the commit, nobody knows what came of it.
            sqlalchemy.exc.DBAPIError: The database refuses what the task wrote.
        """
        with translated(self._config), self._connection:
            self.session.commit()  # flushes, and releases the task's savepoint
            self.session.close()
            if not _run(self._connection, self._config.schema, work):
                return False
            self._connection.commit()
            if self._canceller is not None:  # who has the connection next must not be cancelled
                self._connection.invalidate()
            return True

    def abandon(self, *, is_broken: bool) -> None:
        """Rolls back.

        Args:
            is_broken: The task was interrupted, perhaps in the midst of talking to the server: the connection can't be
                used again.
        """
        with suppress(Exception), self._connection:  # whatever it says, nothing is committed
            if is_broken:
                self._connection.invalidate()
            self.session.close()


class AsyncTaskTransaction:
    """`TaskTransaction` for a coroutine."""

    session: Any

    def __init__(self, database: Database, connection: AsyncConnection, session_class: type[Any]) -> None:
        self._config = database.config
        self._connection = connection
        self.session = session_class(bind=connection, **_JOINED)

    @classmethod
    async def begin(cls, database: Database, session_class: type[Any]) -> "AsyncTaskTransaction":
        with translated(database.config):
            async with AsyncExitStack() as undo:
                connection = await undo.enter_async_context(database.async_engine().connect())
                await connection.run_sync(_make_atomic)
                begun = cls(database, connection, session_class)
                undo.pop_all()
                return begun

    @property
    def is_lost(self) -> bool:
        return self._connection.invalidated

    async def commit_with(self, work: Work[bool]) -> bool:
        with translated(self._config):
            async with aclosing(self._connection):
                await self.session.commit()
                await self.session.close()
                if not await self._connection.run_sync(_run, self._config.schema, work):
                    return False
                await self._connection.commit()
                return True

    async def abandon(self, *, is_broken: bool) -> None:
        with suppress(Exception):
            async with aclosing(self._connection):
                if is_broken:
                    await self._connection.invalidate()
                await self.session.close()


def _make_atomic(connection: Connection) -> None:
    """An application's engine may be in autocommit."""
    if connection.connection.dbapi_connection.autocommit:  # type: ignore[union-attr] # psycopg has it
        connection.execution_options(**_ATOMIC)
    connection.begin()


def _run(connection: Connection, schema: str, work: Work[bool]) -> bool:
    with guest(connection, schema) as session:
        return work(session)
