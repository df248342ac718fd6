"""Where a job that was added lies, and can be run: in a transaction that is still open, or in one of its own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine
from sqlalchemy.util.concurrency import in_greenlet

from queuer.additions import Origin
from queuer.database.guests import guest

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Place:
    """A test's connection, as long as it is open, else an engine.

    Args:
        origin: The queuer that added the job.
        connection: On which it was added.
        is_own: It was added in a transaction of the queuer's own.
        schema: Of the queue's tables.
    """

    origin: Origin
    connection: Connection
    is_own: bool
    schema: str

    @property
    def key(self) -> object:
        """Places of one key see the same rows."""
        where = self.connection.engine if self.connection.closed else self.connection
        return self.origin, where, self.is_own, self.schema

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """The test's transaction, which is left as open as it is; else one that is committed in the end."""
        if self.connection.closed:
            with self._engine().begin() as connection:
                yield connection
        elif self.connection.in_transaction():
            yield self.connection
        else:
            with self.connection.begin():
                yield self.connection

    @contextmanager
    def session(self) -> Iterator["Session"]:
        """For repositories, in `transaction`."""
        with self.transaction() as connection, self.session_on(connection) as session:
            yield session

    def session_on(self, connection: Connection) -> AbstractContextManager["Session"]:
        """For repositories, in the connection's transaction."""
        return guest(connection, self.schema)

    @property
    def has_async_engine(self) -> bool:
        return self.is_own and self.origin.for_tasks is not None

    def _engine(self) -> Engine:
        lent = self.origin.for_tasks
        if not self.is_own or lent is None:
            return self.connection.engine
        # The queuer's own would look for a task's tables in the queue's schema.
        engine: Engine = lent.async_engine().sync_engine if in_greenlet() else lent.engine
        return engine
