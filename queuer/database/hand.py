"""Connections that are kept between one use and the next: to take one from the pool and to give it back takes about as
long as a small statement.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection

from queuer.database.engines import is_outdated

#: Seconds after which one that is kept goes back to the pool, which asks for a sign of life before it lends it again.
RESTS_AFTER = 0.5

#: Connections that are kept: a worker claims with one, and writes outcomes with another.
MOST_KEPT = 2


class Hand:
    """Lends connections of an engine's pool, in autocommit, for single statements. Keeps those that were just used.

    Args:
        plans_last: Seconds after which the server plans prepared statements anew. What is best for a table that is
            empty takes a hundred times as long a moment later, and until it is analyzed the server would not notice.
    """

    def __init__(self, engine: Engine, plans_last: float) -> None:
        self._engine = engine
        self._plans_last = plans_last
        self._kept: list[tuple[PoolProxiedConnection, float]] = []  # and since when
        self._closed = 0  # how often

    @contextmanager
    def lent(self) -> Iterator["psycopg.Connection[Any]"]:
        """A connection that has lived a moment ago, for work that is done again if it does not any more."""
        closed_before, is_of_use = self._closed, True
        proxy = self._take()
        connection = cast("psycopg.Connection[Any]", proxy.driver_connection)
        try:
            if not connection.autocommit:  # it may stay so: whoever wants a transaction says so
                connection.autocommit = True
            self._renew_plans(proxy, connection)
            yield connection
        except psycopg.Error as error:
            is_of_use = not is_outdated(error)
            raise
        finally:
            # Else it broke, or somebody interrupted the statement.
            if is_of_use and connection.pgconn.transaction_status == TransactionStatus.IDLE:
                self._put(proxy, closed_before)
            else:
                proxy.invalidate()

    def let_go(self) -> None:
        """Gives the pool one that is kept, for who takes his from there: it need not open another."""
        with suppress(IndexError):
            self._kept.pop()[0].close()

    def close(self) -> None:
        """Gives the pool what is kept, and also what is lent now when it comes back."""
        self._closed += 1
        while self._kept:
            self.let_go()

    def _take(self) -> PoolProxiedConnection:
        try:
            proxy, kept_since = self._kept.pop()
        except IndexError:
            return self._engine.raw_connection()
        if monotonic() - kept_since < RESTS_AFTER:
            return proxy
        proxy.close()
        return self._engine.raw_connection()

    def _renew_plans(self, proxy: PoolProxiedConnection, connection: "psycopg.Connection[Any]") -> None:
        now = monotonic()
        if now - proxy.info.setdefault("planned_at", now) > self._plans_last:
            proxy.info["planned_at"] = now
            if connection.prepare_threshold is not None:  # else there are none; see pooling
                connection.execute("DISCARD PLANS", prepare=False)

    def _put(self, proxy: PoolProxiedConnection, closed_before: int) -> None:
        if len(self._kept) < MOST_KEPT and self._closed == closed_before:
            self._kept.append((proxy, monotonic()))
        else:
            proxy.close()
