"""A database for one test, of which nothing remains."""

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from queuer.cipher import NO_KEYS

T = TypeVar("T")


class OneTransaction:
    """What operations take for a database: here, one connection with an open transaction."""

    cipher = NO_KEYS

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, unit: Callable[[Session], T]) -> T:
        options: dict[str, Any] = {"expire_on_commit": False, "join_transaction_mode": "create_savepoint"}
        with Session(self._connection, **options) as session, session.begin():
            return unit(session)

    run_single = run_direct = run
