"""Owns transactions: runs units of work, and knows which of them need more than one statement."""

import os
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from queuer.config import DatabaseConfiguration
from queuer.database.async_engines import AsyncEngines
from queuer.database.engines import translated
from queuer.errors import QueuerError

T = TypeVar("T")

#: A unit of work: repository calls on one session. Written once; the async doors run it in a greenlet.
Work = Callable[[Session], T]


class Database:
    """One PostgreSQL, for threads through one engine, and for coroutines through one for each event loop."""

    def __init__(self, engine: Engine, config: DatabaseConfiguration) -> None:
        self.config = config
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._async_engines = AsyncEngines(config)
        self._pid = os.getpid()

    def run(self, work: Work[T]) -> T:
        """Runs `work` in a transaction of its own: commits when it returns, rolls back when it raises.

        Raises:
            DatabaseUnavailable: The server can't be reached, or went away. If that happened during the commit,
                nobody knows whether it took place.
        """
        self.check_process()
        with translated(self.config), Session(self._engine, expire_on_commit=False) as session, session.begin():
            return work(session)

    def run_single(self, work: Work[T]) -> T:
        """Like `run`, for work that is one statement: PostgreSQL makes it atomic by itself.

        That is one round trip; BEGIN and COMMIT would make it three.
        """
        self.check_process()
        with translated(self.config), Session(self._autocommit, expire_on_commit=False) as session:
            return work(session)

    async def run_async(self, work: Work[T]) -> T:
        """`run` for a coroutine."""
        self.check_process()
        engine = self._async_engines.of_running_loop()
        with translated(self.config):
            async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
                return await session.run_sync(work)

    async def run_single_async(self, work: Work[T]) -> T:
        """`run_single` for a coroutine."""
        self.check_process()
        engine = self._async_engines.of_running_loop().execution_options(isolation_level="AUTOCOMMIT")
        with translated(self.config):
            async with AsyncSession(engine, expire_on_commit=False) as session:
                return await session.run_sync(work)

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

    def close(self) -> None:
        """Closes the connections of the pools. The next unit of work opens new ones."""
        self._engine.dispose()
        self._async_engines.close()
