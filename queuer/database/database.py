"""Owns transactions: runs units of work, and knows which of them need more than one statement."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import psycopg
from sqlalchemy import Connection, Engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from queuer.cipher import NO_KEYS, Cipher
from queuer.config import DatabaseConfiguration
from queuer.database.async_engines import AsyncEngines
from queuer.database.engines import DRIVERS_ERRORS, is_outdated, translated, translation, was_rolled_back
from queuer.database.hand import Hand
from queuer.database.under_way import UnderWay, impatient
from queuer.errors import DatabaseUnavailable, QueuerError
from queuer.repositories.direct import Direct
from queuer.repositories.idleness import limited
from queuer.retry import reconnect_delay

T = TypeVar("T")

#: Times that work is tried when the server says that it has rolled it back: for some three quarters of a second.
TRIES = 4

#: A unit of work: repository calls on one session. Written once; the async doors run it in a greenlet. It may be run
#: more than once.
Work = Callable[[Session], T]

# Whatever the engine's default, which may be an application's: claims rely on the one, single statements on the other.
_READ_COMMITTED = {"isolation_level": "READ COMMITTED"}
_AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT"}


class Database:
    """One PostgreSQL, for threads and for coroutines.

    Args:
        engine: For threads.
        async_engines: For coroutines: an engine for each event loop, or an application's own. None = they use a thread.
        cipher: Decrypts what is loaded.
        is_ours: Whether `engine` is closed with this.
        limits_idleness: Whether the server ends transactions of `run` that are left idle for long.
    """

    def __init__(
        self,
        engine: Engine,
        config: DatabaseConfiguration,
        async_engines: AsyncEngines | AsyncEngine | None = None,
        *,
        cipher: Cipher = NO_KEYS,
        is_ours: bool = True,
        limits_idleness: bool = False,
    ) -> None:
        self.config = config
        self.cipher = cipher
        #: Whether its user may add jobs, but not read them. Found out by trying.
        self.is_write_only = False
        self.engine = engine
        self._async_engines = async_engines
        self._is_ours = is_ours
        self._limits_idleness = limits_idleness
        self._under_way = UnderWay(config)
        self._hand = Hand(engine, config.schema)
        self._options: dict[str, Any] = {"expire_on_commit": False, "info": {"database": self}}
        self._pid = os.getpid()

    def run(self, work: Work[T]) -> T:
        """Runs `work` in a transaction of its own: commits when it returns, rolls back when it raises.

        Runs it again when the server has rolled it back: after a deadlock, say.

        Raises:
            DatabaseUnavailable: The server can't be reached, or went away. If that happened during the commit,
                nobody knows whether it took place.
        """

        def once() -> T:
            self._hand.let_go()
            with (
                translated(self.config),
                self._under_way.entered() as begun,
                Session(self.engine, **self._options) as session,
                session.begin(),
            ):
                begun(_driver_of(session.connection(execution_options=_READ_COMMITTED)))
                if self._limits_idleness:
                    session.execute(select(limited()))
                return work(session)

        return self._repeated(once, TRIES)

    def run_single(self, work: Work[T], *, tries: int = TRIES) -> T:
        """Like `run`, for work that is one statement: PostgreSQL makes it atomic by itself.

        That is one round trip; BEGIN and COMMIT would make it three.

        Args:
            tries: 1 for work that can't be repeated, since it uses up what it is given.
        """

        def once() -> T:
            self._hand.let_go()
            with (
                translated(self.config),
                self._under_way.entered() as begun,
                Session(self.engine, **self._options) as session,
            ):
                begun(_driver_of(session.connection(execution_options=_AUTOCOMMIT)))
                return work(session)

        return self._repeated(once, tries)

    def run_direct(self, work: Callable[[Session | Direct], T]) -> T:
        """Like `run_single`, past SQLAlchemy's session, which takes longer than a small statement does.

        Not on an application's engine: its hooks are to see every statement. For work that is done again, under the
        same rid or fence, when its connection turns out to be dead.
        """
        if not self._is_ours:
            return self.run_single(work)

        return self._repeated(partial(self._run_at_hand, work), TRIES)

    def _run_at_hand(self, work: Callable[[Direct], T]) -> T:
        key = self._under_way.begin()
        try:
            loan = self._hand.lend()
            is_of_use = True
            try:
                self._under_way.is_at(key, loan.direct.connection)
                return work(loan.direct)
            except psycopg.Error as error:
                is_of_use = not is_outdated(error)
                raise
            finally:
                self._hand.take_back(loan, is_of_use=is_of_use)
        except DRIVERS_ERRORS as error:
            if (said := translation(self.config, error)) is None:
                raise
            raise said from error
        finally:
            self._under_way.leave(key)

    async def run_async(self, work: Work[T]) -> T:
        """`run` for a coroutine."""
        self.check_process()
        engine = self._async_engine_or_none()
        if engine is None:
            return await asyncio.to_thread(self.run, work)

        async def once() -> T:
            with translated(self.config):
                async with AsyncSession(engine, **self._options) as session, session.begin():
                    await session.connection(execution_options=_READ_COMMITTED)
                    return await session.run_sync(work)

        return await self._repeated_async(once, TRIES)

    async def run_single_async(self, work: Work[T], *, tries: int = TRIES) -> T:
        """`run_single` for a coroutine."""
        self.check_process()
        engine = self._async_engine_or_none()
        if engine is None:
            return await asyncio.to_thread(self.run_single, work, tries=tries)

        async def once() -> T:
            with translated(self.config):
                async with AsyncSession(engine, **self._options) as session:
                    await session.connection(execution_options=_AUTOCOMMIT)
                    return await session.run_sync(work)

        return await self._repeated_async(once, tries)

    def _repeated(self, once: Callable[[], T], tries: int) -> T:
        self.check_process()
        for failures in range(1, tries):
            try:
                return once()
            except DatabaseUnavailable as error:
                if not was_rolled_back(error):
                    raise
                time.sleep(reconnect_delay(failures))
        return once()

    async def _repeated_async(self, once: Callable[[], Awaitable[T]], tries: int) -> T:
        for failures in range(1, tries):
            try:
                return await once()
            except DatabaseUnavailable as error:
                if not was_rolled_back(error):
                    raise
                await asyncio.sleep(reconnect_delay(failures))
        return await once()

    def async_engine(self) -> AsyncEngine:
        """The async engine of the loop that runs here, for who has made this with some."""
        engine = self._async_engine_or_none()
        assert engine is not None, "this database has no async engines"  # noqa: S101 - a mistake of ours
        return engine

    def _async_engine_or_none(self) -> AsyncEngine | None:
        engines = self._async_engines
        return engines.of_running_loop() if isinstance(engines, AsyncEngines) else engines

    def check_process(self) -> None:
        """Raises `QueuerError` in a fork: it would share, and corrupt, its parent's connections."""
        if not self.is_in_own_process():
            raise QueuerError(
                "this queuer was made before a fork, and its connections belong to the parent process; make one in each"
                " process, after the fork"
            )

    def is_in_own_process(self) -> bool:
        """Whether this is the process that made it, and no fork."""
        return os.getpid() == self._pid

    @contextmanager
    def impatient(self, seconds: float) -> Iterator[None]:
        """Once the block has taken so many seconds, ends what other threads do here, until the block has ended.

        What is ended raises `DatabaseUnavailable`; see `UnderWay.end`. Infinite `seconds` = never.
        """
        with impatient(seconds, self._under_way):
            yield

    def close(self) -> None:
        """Closes the connections of our own pools. The next unit of work opens new ones."""
        if self._is_ours:
            self._hand.close()
            self.engine.dispose()
        if isinstance(self._async_engines, AsyncEngines):
            self._async_engines.close()


def _driver_of(connection: Connection) -> "psycopg.Connection[Any]":
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)
