"""Async engines: one for each event loop, since a pool's connections belong to the loop that opened them."""

import asyncio
import threading
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from queuer.config import DatabaseConfiguration
from queuer.database.engines import engine_options


class AsyncEngines:
    """The async engines of one queuer."""

    def __init__(self, config: DatabaseConfiguration) -> None:
        self._config = config
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()
        self._connections: WeakSet[psycopg.AsyncConnection] = WeakSet()
        self._lock = threading.Lock()

    def of_running_loop(self) -> AsyncEngine:
        """The engine of the loop that runs here."""
        loop = asyncio.get_running_loop()
        with self._lock:
            engine = self._engines.get(loop)
            if engine is None:
                engine = create_async_engine(
                    self._config.url, **engine_options(self._config, application_name="queuer async")
                )
                event.listen(engine.sync_engine, "connect", self._remember)
                self._engines[loop] = engine
            return engine

    def close(self) -> None:
        """Closes all their connections, from whatever thread or loop, also of loops that have ended."""
        with self._lock:
            for engine in self._engines.values():
                engine.sync_engine.dispose(close=False)
            for connection in list(self._connections):
                connection.pgconn.finish()  # closing it properly could only be awaited, in its own loop
            self._engines.clear()

    def _remember(self, dbapi_connection: Any, _record: object) -> None:
        self._connections.add(dbapi_connection.driver_connection)
