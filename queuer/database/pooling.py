"""Poolers such as PgBouncer, between us and the server: what a connection through one can be used for.

One that pools by transaction lends a server process for each of them. What belongs to a session (LISTEN, advisory locks
of sessions, SET, prepared statements) would be left behind in a process that works for others next.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import psycopg

#: Times that two connections are compared before they are believed to have server processes of their own. Each time is
#: likely to tell: idle processes are lent again, the last one first or each in turn.
LOOKS = 20

# Not every system can look whether the client is still there.
_SET = """
SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS setting (name, value)
WHERE pg_backend_pid() = %s AND (name <> 'client_connection_check_interval' OR version() LIKE '%%linux%%')
"""


def set_up(connection: psycopg.BaseConnection[Any], cursor: Any, settings: Mapping[str, str]) -> None:
    """Changes settings for the session, if the server itself is at the other end; else the session is not ours.

    Then nothing is prepared either: not every pooler knows how to, and none says whether it does.

    Args:
        cursor: On the connection: psycopg's, or SQLAlchemy's where it drives an async one.
    """
    # A pooler greets its clients with a number of its own where the server tells that of its process.
    cursor.execute(_SET, [list(settings), list(settings.values()), connection.info.backend_pid])
    if not cursor.fetchall():
        connection.prepare_threshold = None


def keeps_session(connection: psycopg.Connection[Any], connect: Callable[[], psycopg.Connection[Any]]) -> bool:
    """Whether one server process works for this connection, and for no other, as long as it is open.

    Leaves nothing behind in the server, unlike a LISTEN to see whether anything is heard.

    Args:
        connect: Opens another one like it; both are in autocommit.
    """
    if _process(connection) == connection.info.backend_pid:
        return True
    with closing(connect()) as other:
        return all(_are_apart(connection, other) for _ in range(LOOKS))


def _are_apart(one: psycopg.Connection[Any], other: psycopg.Connection[Any]) -> bool:
    before = _process(one)
    with other.transaction():
        others = _process(other)
    return others != before == _process(one)


def _process(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0
