"""Async engines: one for each event loop, since a pool's connections belong to the loop that opened them."""

import asyncio
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import psycopg
from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from queuer.config import DatabaseConfiguration
from queuer.database.engines import attend, engine_options
from queuer.database.liveness import AsyncConnection


class AsyncEngines:
    """The async engines of one queuer. Arguments as for `engines.create`."""

    def __init__(
        self,
        config: DatabaseConfiguration,
        *,
        application_name: str = "queuer async",
        most: int = 10,
        translates: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._url = config.url
        self._options = engine_options(config, application_name=application_name, most=most, translates=translates)
        self._options["connect_args"]["async_creator_fn"] = AsyncConnection.connect
        self._settings = settings
        self._engines: dict[asyncio.AbstractEventLoop, _LoopsEngine] = {}
        self._lock = threading.Lock()

    def of_running_loop(self) -> AsyncEngine:
        """The engine of the loop that runs here."""
        loop = asyncio.get_running_loop()
        with self._lock:
            found = self._engines.get(loop)
            if found is None:
                for ended in [each for each in self._engines if each.is_closed()]:
                    self._engines.pop(ended).close()  # else each `asyncio.run` would leave its connections behind
                found = self._engines[loop] = _LoopsEngine(self._url, self._options, self._settings)
            return found.engine

    def close(self) -> None:
        """Closes all their connections, from whatever thread or loop, also of loops that have ended."""
        with self._lock:
            for each in self._engines.values():
                each.close()
            self._engines.clear()


class _LoopsEngine:
    """The engine of one loop, and its connections."""

    def __init__(self, url: URL, options: dict[str, Any], settings: Mapping[str, str]) -> None:
        self.engine = create_async_engine(url, **options)
        attend(self.engine.sync_engine, settings)
        # Not weakly: whoever forgets one would leave it open.
        self._connections: set[psycopg.AsyncConnection[Any]] = set()
        event.listen(self.engine.sync_engine, "connect", self._opened)
        event.listen(self.engine.sync_engine, "close", self._closed)
        event.listen(self.engine.sync_engine, "checkin", self._returned)
        self._is_closed = False

    def close(self) -> None:
        self._is_closed = True
        self.engine.sync_engine.dispose(close=False)
        while self._connections:
            self._connections.pop().pgconn.finish()  # closing it properly could only be awaited, in its own loop

    def _opened(self, dbapi_connection: Any, _record: object) -> None:
        self._connections.add(dbapi_connection.driver_connection)

    def _returned(self, _dbapi_connection: object, _record: object) -> None:
        if self._is_closed:  # it was opened by who was at work while this was closed
            self.close()

    def _closed(self, dbapi_connection: Any, _record: object) -> None:
        self._connections.discard(dbapi_connection.driver_connection)
