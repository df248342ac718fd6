"""Connections that are kept between one use and the next: to take one from the pool and to give it back takes about as
long as a small statement.
"""

from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, cast

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Engine
from sqlalchemy.pool import PoolProxiedConnection

from queuer.repositories.direct import Direct

#: Seconds after which one that is kept goes back to the pool, which asks for a sign of life before it lends it again.
RESTS_AFTER = 0.5

#: Connections that are kept: a worker claims with one, and writes outcomes with another.
MOST_KEPT = 2


@dataclass(slots=True)
class Loan:
    """A connection that is kept, and when it came back last, by the monotonic clock."""

    proxy: PoolProxiedConnection
    direct: Direct
    #: How often the hand had been closed when it was lent.
    closed_before: int
    kept_since: float = 0.0


class Hand:
    """Lends connections of an engine's pool, in autocommit, for single statements. Keeps those that were just used.

    Args:
        schema: Of the queue's tables.
    """

    def __init__(self, engine: Engine, schema: str) -> None:
        self._engine = engine
        self._schema = schema
        self._kept: list[Loan] = []
        self._closed = 0  # how often

    def lend(self) -> Loan:
        """A connection that has lived a moment ago, for work that is done again if it does not any more.

        It has to be given back by `take_back`.
        """
        return self._kept_one() or self._new_one()

    def take_back(self, loan: Loan, *, is_of_use: bool = True) -> None:
        """Keeps it, unless it is of no use any more, or broke, or somebody interrupted its statement."""
        if not is_of_use or loan.direct.connection.pgconn.transaction_status != TransactionStatus.IDLE:
            loan.proxy.invalidate()
        elif len(self._kept) < MOST_KEPT and loan.closed_before == self._closed:
            loan.kept_since = monotonic()
            self._kept.append(loan)
        else:
            loan.proxy.close()

    def let_go(self) -> None:
        """Gives the pool one that is kept, for who takes his from there: it need not open another."""
        with suppress(IndexError):
            self._kept.pop().proxy.close()

    def close(self) -> None:
        """Gives the pool what is kept, and also what is lent now when it comes back."""
        self._closed += 1
        while self._kept:
            self.let_go()

    def _kept_one(self) -> Loan | None:
        try:
            loan = self._kept.pop()
        except IndexError:
            return None
        if monotonic() - loan.kept_since < RESTS_AFTER:
            return loan
        loan.proxy.close()
        return None

    def _new_one(self) -> Loan:
        closed_before = self._closed
        proxy = self._engine.raw_connection()
        connection = cast("psycopg.Connection[Any]", proxy.driver_connection)
        try:
            if not connection.autocommit:  # it may stay so: whoever wants a transaction says so
                connection.autocommit = True
        except BaseException:
            proxy.invalidate()
            raise
        direct = proxy.info.get("direct") or proxy.info.setdefault("direct", Direct(connection, self._schema))
        return Loan(proxy, direct, closed_before)
