"""Where the connections of one queuer come from: a configuration, or an application's engine."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import cast

import psycopg
from sqlalchemy import Engine
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from queuer.cipher import Cipher, Key
from queuer.config import DatabaseConfiguration
from queuer.database import engines, pooling
from queuer.database.async_engines import AsyncEngines
from queuer.database.database import Database
from queuer.database.liveness import LIVENESS, SERVER_SIDE, Connection
from queuer.errors import ConfigurationError
from queuer.repositories import leases


class Source:
    """Makes connections by a configuration, all of them the queuer's own."""

    def __init__(self, config: DatabaseConfiguration, keys: Sequence[Key] = ()) -> None:
        self.config = config
        #: Of what goes through these connections.
        self.cipher = Cipher(keys, self._salt)

    def database(self, purpose: str) -> Database:
        """For units of work. `purpose` is the name that the server sees."""
        engine = engines.create(self.config, application_name=purpose, settings=engines.SETTINGS)
        async_engines = AsyncEngines(self.config, settings=engines.SETTINGS)
        return Database(engine, self.config, async_engines, cipher=self.cipher)

    def for_worker(self, purpose: str) -> Database:
        """For claiming and finishing: tasks that use the queuer can't take its connections."""
        engine = engines.create(
            self.config, application_name=purpose, most=4, pings=False, settings=engines.WORKER_SETTINGS
        )
        return Database(engine, self.config, cipher=self.cipher, limits_idleness=True)

    def heart(self, purpose: str) -> Database:
        """For short units of work, two at once at most, on connections that no other work can take."""
        engine = engines.create(self.config, application_name=purpose, most=2, settings=engines.SETTINGS)
        return Database(engine, self.config, cipher=self.cipher, limits_idleness=True)

    def for_tasks(self, purpose: str, most: int) -> Database:
        """For the sessions that tasks get, `most` at once: their tables are the application's."""
        engine = engines.create(self.config, application_name=purpose, most=most, translates=False)
        return Database(engine, self.config, self._for_async_tasks(purpose, most))

    def _for_async_tasks(self, purpose: str, most: int) -> AsyncEngines:
        return AsyncEngines(self.config, application_name=purpose, most=most, translates=False)

    def connect(self) -> psycopg.Connection:
        """A connection in autocommit, for the listener."""
        parameters = self.config.to_listen.connection_parameters
        options = {**LIVENESS, **parameters, "application_name": "queuer listener"}
        with _closed_if_raised(Connection.connect(autocommit=True, **options)) as connection:
            with connection.cursor() as cursor:
                pooling.set_up(connection, cursor, SERVER_SIDE)
            return connection

    def _salt(self) -> bytes:
        with closing(self.heart("queuer salt")) as own:
            found = own.run_single(leases.salt)
        if found is None:
            raise ConfigurationError(
                "the salt of passphrases was lost with the row of the table master; restore that row from a backup"
            )
        return found


class AsyncEngineSource(Source):
    """Lends coroutines an application's engine, whose connections belong to its event loop. Threads have their own."""

    def __init__(self, engine: AsyncEngine, config: DatabaseConfiguration, keys: Sequence[Key] = ()) -> None:
        super().__init__(config, keys)
        self._engine = engine.execution_options(**engines.execution_options(config))
        self._engine.sync_engine.hide_parameters = True  # of our statements alone: it is a view of the application's

    def database(self, purpose: str) -> Database:
        engine = engines.create(self.config, application_name=purpose, settings=engines.SETTINGS)
        return Database(engine, self.config, self._engine, cipher=self.cipher)


class EngineSource(Source):
    """Lends an application's engine, which is never disposed of.

    The heartbeat and the listener get connections of their own, made as the engine makes them: its pool may be
    exhausted by what tasks do, and must not make the worker look dead.
    """

    def __init__(self, engine: Engine, config: DatabaseConfiguration, keys: Sequence[Key] = ()) -> None:
        super().__init__(config, keys)
        self._theirs = engine
        self._engine = engine.execution_options(**engines.execution_options(config))
        self._engine.hide_parameters = True  # as above
        self._spare = engine.pool.recreate()  # with the same arguments and event hooks, and never a connection kept

    def database(self, purpose: str) -> Database:  # noqa: ARG002 - the engine has its own name
        return Database(self._engine, self.config, cipher=self.cipher, is_ours=False)

    def for_worker(self, purpose: str) -> Database:  # noqa: ARG002
        return Database(self._engine, self.config, cipher=self.cipher, is_ours=False, limits_idleness=True)

    def heart(self, purpose: str) -> Database:
        engine = engines.create(self.config, application_name=purpose, most=2, creator=self._open)
        return Database(engine, self.config, cipher=self.cipher, limits_idleness=True)

    def for_tasks(self, purpose: str, most: int) -> Database:
        return Database(self._theirs, self.config, self._for_async_tasks(purpose, most), is_ours=False)

    def connect(self) -> psycopg.Connection:
        if self.config.listen_url is not None:
            return super().connect()
        with _closed_if_raised(cast("psycopg.Connection", self._open())) as connection:
            connection.commit()  # what a hook of the application's has set shall stay
            connection.autocommit = True
            return connection

    def _open(self) -> DBAPIConnection:
        """A connection that no pool knows."""
        lent = self._spare.connect()
        lent.detach()
        return cast("DBAPIConnection", lent.dbapi_connection)


@contextmanager
def _closed_if_raised(connection: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """For what makes a connection ready: the server may be shutting down that moment."""
    try:
        yield connection
    except BaseException:
        connection.close()
        raise
