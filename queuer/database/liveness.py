"""Connections that notice when nobody is at the other end any more, although nothing was closed.

TCP does so when packets get no acknowledgement. It does not where something in between acknowledges them and passes
nothing on: a proxy, a load balancer that has forgotten the connection, a machine whose process is stuck. So a statement
without an answer is asked about on a connection of its own: one that the server works on may take as long as it likes.
"""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import BaseConnection
from psycopg.abc import PQGen

T = TypeVar("T")

#: Seconds without a byte from the server after which it is asked whether it works on the statement; doubled each time
#: that it says so, up to the second.
PATIENCE = 3.0
LONGEST_PATIENCE = 60.0

#: Seconds that a server may take to let us in, and to answer the question.
ANSWERS_WITHIN = 5

#: How libpq finds out that packets get no acknowledgement; in seconds, and milliseconds for the last.
LIVENESS: dict[str, Any] = {
    "connect_timeout": ANSWERS_WITHIN,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

#: How the server finds out that we are gone, ends our statement, and lets go of the rows that we had locked. By its own
#: defaults it takes hours, or until the statement has got what it waits for.
SERVER_SIDE: dict[str, str] = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10s",
    "client_connection_check_interval": "2s",
}

#: Whether the server has a process for a connection, what that does, and which process answers.
STATE = """
SELECT pid IS NOT NULL, state, pg_backend_pid() FROM (SELECT) AS one LEFT JOIN pg_stat_activity ON pid = %s
"""

_Answer: TypeAlias = "Future[bool] | asyncio.Future[bool]"
_Ask: TypeAlias = Callable[[Callable[[], bool]], _Answer]


class Connection(psycopg.Connection[Any]):
    """Raises `psycopg.OperationalError` when a statement will get no answer. Not for waiting for notifications."""

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        return super().wait(_attended(self, gen, lambda: _Doubt(self, _ask_here)), *args, **kwargs)


class AsyncConnection(psycopg.AsyncConnection[Any]):
    """`Connection` for coroutines."""

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        return await super().wait(_attended(self, gen, lambda: _Doubt(self, _ask_in_thread)), *args, **kwargs)


class _Question(psycopg.Connection[Any]):
    """The connection on which is asked. Nobody asks about this one: it has so many seconds for each answer."""

    def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        deadline = monotonic() + ANSWERS_WITHIN
        return super().wait(_attended(self, gen, lambda: lambda: monotonic() > deadline), *args, **kwargs)


def _attended(
    connection: BaseConnection[Any], gen: PQGen[T], doubt: Callable[[], Callable[[], bool]]
) -> Generator[Any, Any, T]:
    """What psycopg waits for, given up when it is hopeless.

    Args:
        doubt: Called when nothing came for a tenth of a second. What it returns is asked again and again until
            something comes: whether it is hopeless.
    """
    is_hopeless = None
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                is_hopeless = None
            elif is_hopeless is None:
                is_hopeless = doubt()
            elif is_hopeless():
                connection.pgconn.finish()
                raise psycopg.OperationalError("the server does not answer on this connection any more")
            wanted = gen.send(ready)
    except StopIteration as done:
        value: T = done.value
        return value


class _Doubt:
    """Whether a statement will get no answer any more."""

    def __init__(self, connection: BaseConnection[Any], ask: _Ask) -> None:
        self._connection = connection
        self._ask = ask
        self._patience = PATIENCE
        self._ask_at = monotonic() + PATIENCE
        self._answer: _Answer | None = None
        self._is_suspected = False

    def __call__(self) -> bool:
        if self._answer is not None:
            return self._answer.done() and self._is_sure(is_at_work=self._answer.result())
        if monotonic() >= self._ask_at:
            self._answer = self._ask(_question_about(self._connection))
        return False

    def _is_sure(self, *, is_at_work: bool) -> bool:
        """The statement's answer may have been on its way while the server was asked, so it is asked twice."""
        if self._is_suspected and not is_at_work:
            return True
        self._is_suspected = not is_at_work
        if is_at_work:
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
        self._ask_at = monotonic() + (self._patience if is_at_work else PATIENCE / 10)
        self._answer = None
        return False


def _ask_here(question: Callable[[], bool]) -> _Answer:
    answer: Future[bool] = Future()
    answer.set_result(question())
    return answer


def _ask_in_thread(question: Callable[[], bool]) -> _Answer:
    return asyncio.get_running_loop().run_in_executor(None, question)


def _question_about(connection: BaseConnection[Any]) -> Callable[[], bool]:
    """Asks the very server that the connection is to. Reads the connection now, since the question may be asked in
    another thread.
    """
    info = connection.info
    parameters = info.get_parameters() | {"connect_timeout": ANSWERS_WITHIN, "application_name": "queuer liveness"}
    parameters.pop("target_session_attrs", None)  # what has become a standby may still say that it lost the connection
    return partial(_is_at_work, parameters | {"password": info.password or None}, info.backend_pid)


def _is_at_work(parameters: dict[str, Any], pid: int) -> bool:
    """Whether the server works on something for its process `pid`. True also when that can't be found out."""
    try:
        with closing(_Question.connect(autocommit=True, **parameters)) as question:
            is_there, state, own_pid = question.execute(STATE, [pid]).fetchone() or (False, None, 0)
            if own_pid != question.info.backend_pid:  # a pooler in between gives processes numbers of its own
                return True
    except psycopg.Error as error:
        # Refused with a reason, such as too many connections: an answer, though none to the question. libpq tells us
        # no SQLSTATE then; a server that speaks another language is taken for gone, which costs one more try.
        return error.sqlstate is not None or "FATAL" in str(error)
    return bool(is_there) and not (state or "").startswith("idle")
