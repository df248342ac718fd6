"""Owns transactions: runs units of work, and knows which of them need more than one statement."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from queuer.config import DatabaseConfiguration
from queuer.database.engines import translated

T = TypeVar("T")

#: A unit of work: repository calls on one session.
Work = Callable[[Session], T]


class Database:
    """One PostgreSQL, through one engine."""

    def __init__(self, engine: Engine, config: DatabaseConfiguration) -> None:
        self.config = config
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    def run(self, work: Work[T]) -> T:
        """Runs `work` in a transaction of its own: commits when it returns, rolls back when it raises.

        Raises:
            DatabaseUnavailable: The server can't be reached, or went away. If that happened during the commit,
                nobody knows whether it took place.
        """
        with translated(self.config), Session(self._engine, expire_on_commit=False) as session, session.begin():
            return work(session)

    def run_single(self, work: Work[T]) -> T:
        """Like `run`, for work that is one statement: PostgreSQL makes it atomic by itself.

        That is one round trip; BEGIN and COMMIT would make it three.
        """
        with translated(self.config), Session(self._autocommit, expire_on_commit=False) as session:
            return work(session)

    def close(self) -> None:
        """Closes the pool's connections. The next `run` opens new ones."""
        self._engine.dispose()
