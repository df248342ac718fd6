"""Units of work in a transaction of the caller's: nothing is committed, flushed or left behind there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, inspect
from sqlalchemy.exc import DBAPIError, InvalidRequestError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util.concurrency import in_greenlet

from queuer.database.database import Database, Work
from queuer.database.engines import sqlstate_of
from queuer.database.guests import guest
from queuer.errors import QueuerError
from queuer.models import Job
from queuer.repositories.identity import Place, whereabouts

T = TypeVar("T")

#: What may be given, by threads and by coroutines.
Given = Session | scoped_session[Any] | Connection
GivenAsync = AsyncSession | async_scoped_session[Any] | AsyncConnection

_OF_JOBS = {"mapper": inspect(Job)}  # for sessions with several engines
_IN_FAILED_TRANSACTION = "25P02"


def is_async(given: object) -> bool:
    """Whether this is one of `GivenAsync`. Raises `TypeError` when it is none of `Given` either."""
    if isinstance(given, (AsyncSession, async_scoped_session, AsyncConnection)):
        return True
    if isinstance(given, (Session, scoped_session, Connection)):
        return False
    raise TypeError(
        f"in_session got {given!r}; allowed is a SQLAlchemy Session, scoped_session, Connection, AsyncSession,"
        " async_scoped_session or AsyncConnection"
    )


class CallersTransactions:
    """Takes part in transactions of callers, on the database of one queuer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.cipher = database.cipher
        #: Of engines that lead to the queuer's own tables.
        self._known_pools: WeakSet[Any] = WeakSet([database.engine.pool])
        self._seen: WeakKeyDictionary[Any, _Seen] = WeakKeyDictionary()  # by transaction
        self._lock = threading.Lock()

    def run(self, given: Given, work: Work[T]) -> T:
        """Runs `work` in the transaction that the session or connection is in, or begins.

        Raises:
            QueuerError: No job can be added there: it is closed, in autocommit, read-only or failed, of another
                database, or in use by another thread. It is left as it was.
            sqlalchemy.exc.DBAPIError: As whatever else fails on the caller's connection.
        """
        with _explained(given):
            connection = _connection_of(given)
            is_known = connection.engine.pool in self._known_pools
            own = None if is_known else self._database.run_single(whereabouts)[0]
            return self._run_on(connection, own, work, _sync_of(given))

    async def run_async(self, given: GivenAsync, work: Work[T]) -> T:
        """`run` for a coroutine."""
        with _explained(given):
            connection = await _async_connection_of(given)
            is_known = connection.engine.pool in self._known_pools
            own = None if is_known else (await self._database.run_single_async(whereabouts))[0]
            return await connection.run_sync(self._run_on, own, work, _sync_of(given))

    def _run_on(self, connection: Connection, own: Place | None, work: Work[T], given: Session | Connection) -> T:
        if connection.connection.dbapi_connection.autocommit:  # type: ignore[union-attr] # every driver has it
            raise QueuerError(
                "the connection is in autocommit, so there is no transaction to take part in; use add_job"
            )
        if not connection.in_transaction():
            connection.begin()  # as any statement of the caller's would
        seen = self._look_up(connection)
        info = {"database": self._database, "given": given}
        with seen.alone(), guest(connection, self._database.config.schema, **info) as session:
            if not seen.is_fit:
                self._check(session, own)
                self._known_pools.add(connection.engine.pool)
                seen.is_fit = True
            return work(session)

    def _look_up(self, connection: Connection) -> "_Seen":
        with self._lock:
            return self._seen.setdefault(connection.get_transaction(), _Seen())

    def _check(self, session: Session, own: Place | None) -> None:
        place, is_read_only = whereabouts(session)
        config = self._database.config
        if own is not None and place != own:
            raise QueuerError(
                f"the session is bound to another database than the queuer's, which is {config.database!r} on host"
                f" {config.host}, port {config.port}, schema {config.schema!r}; give a session of that one, or make a"
                " queuer on the session's engine with new_queuer_with_engine"
            )
        if is_read_only:
            raise QueuerError("the transaction is read-only; add the job in one that may write, or use add_job")


class _Seen:
    """What is known of a caller's transaction."""

    def __init__(self) -> None:
        #: Whether it was looked at, and jobs can be added in it.
        self.is_fit = False
        self._in_use = threading.Lock()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other threads and coroutines out meanwhile."""
        if not self._in_use.acquire(blocking=False):
            raise QueuerError(
                "the session is in use by another thread or coroutine; give each a session of its own, or let them wait"
            )
        try:
            yield
        finally:
            self._in_use.release()


@contextmanager
def _explained(given: object) -> Iterator[None]:
    try:
        yield
    except PendingRollbackError:  # which says what to do
        raise
    except InvalidRequestError as error:
        raise QueuerError(f"no job can be added in {given!r}: {error}; give one that is open and not in use") from error
    except DBAPIError as error:
        if sqlstate_of(error) != _IN_FAILED_TRANSACTION:
            raise
        raise QueuerError("the transaction has failed before; roll it back, and then add the job") from error


def _sync_of(given: Given | GivenAsync) -> Session | Connection:
    """The session or connection in whose transaction the work is done, whatever stands before it."""
    if isinstance(given, (scoped_session, async_scoped_session)):
        given = given.registry()
    if isinstance(given, AsyncSession):
        return given.sync_session
    return given.sync_connection if isinstance(given, AsyncConnection) else given  # type: ignore[return-value]


def _connection_of(given: Given) -> Connection:
    session = _sync_of(given)
    bind = session if isinstance(session, Connection) else session.get_bind(_OF_JOBS["mapper"])
    if bind.dialect.is_async and not in_greenlet():
        raise QueuerError(
            "the session is on an async engine; await in_session(async_session).add_job(…), or call this inside"
            " async_session.run_sync"
        )
    return session if isinstance(session, Connection) else session.connection(bind_arguments=_OF_JOBS)


async def _async_connection_of(given: GivenAsync) -> AsyncConnection:
    if isinstance(given, AsyncConnection):
        return given
    session: AsyncSession = given.registry() if isinstance(given, async_scoped_session) else given
    return await session.connection(bind_arguments=_OF_JOBS)
