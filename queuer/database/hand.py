"""Connections that are kept between one use and the next: to take one from the pool and to give it back takes about as
long as a small statement.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection

from queuer.database.engines import RESTS_AFTER, in_haste, is_outdated


class Hand:
    """Lends connections of an engine's pool, in autocommit, for single statements. Keeps one that was just used."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: list[tuple[PoolProxiedConnection, float]] = []  # and since when
        self._closed = 0  # how often

    @contextmanager
    def lent(self) -> Iterator["psycopg.Connection[Any]"]:
        """A connection that has lived a moment ago, for work that is done again if it does not any more."""
        closed_before = self._closed
        proxy = self._take()
        connection = cast("psycopg.Connection[Any]", proxy.driver_connection)
        try:
            if not connection.autocommit:  # it may stay so: whoever wants a transaction says so
                connection.autocommit = True
            yield connection
        except psycopg.Error as error:
            if is_outdated(error):
                proxy.invalidate()
            raise
        finally:
            self._put(proxy, connection, closed_before)

    def close(self) -> None:
        """Gives the pool what is kept, and also what is lent now when it comes back."""
        self._closed += 1
        while self._kept:
            self._kept.pop()[0].close()

    def _take(self) -> PoolProxiedConnection:
        try:
            proxy, kept_since = self._kept.pop()
        except IndexError:
            with in_haste():
                return self._engine.raw_connection()
        if monotonic() - kept_since < RESTS_AFTER:
            return proxy
        proxy.close()
        return self._engine.raw_connection()  # which asks it for a sign of life, if this engine does

    def _put(self, proxy: PoolProxiedConnection, connection: "psycopg.Connection[Any]", closed_before: int) -> None:
        is_fit = proxy.is_valid and connection.pgconn.transaction_status == TransactionStatus.IDLE
        if is_fit and not self._kept and self._closed == closed_before:
            self._kept.append((proxy, monotonic()))
            return
        if not is_fit:
            proxy.invalidate()  # it broke, or somebody interrupted the statement
        proxy.close()
