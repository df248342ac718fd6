"""At which revision the schema is, and whether this queuer works with that one.

Without Alembic: nearly always the schema is current, and a process that only looks needs none of what migrates.

A revision that only adds to the schema leaves older versions of queuer working. It says so in `oldest_compatible`, and
that is written beside the revision into the database, as a comment on the version table: so an older version, which has
no file of the revision, learns whether it can go on. `queuer.migrations.history` writes it.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from psycopg import sql
from sqlalchemy import Connection, inspect, text

from queuer.errors import SchemaTooNew

VERSION_TABLE = "queuer_alembic_version"

#: Between a revision and those that it works with, in the comment on the version table.
WORKS_WITH = " works with queuer of revision "


@cache
def known_in(folder: Path) -> Sequence[str]:
    """The revisions that this queuer brings, oldest first: they are one line, and their files are named by them."""
    return sorted(file.stem.partition("_")[0] for file in (folder / "versions").glob("*.py"))


def current(connection: Connection, schema: str, known: Sequence[str]) -> str | None:
    """The revision that the schema is at; None = it has none of our tables.

    The queue's own version table alone says so, whoever ran the revisions: a queuer, this folder's `env.py`, or an
    application's Alembic.

    Raises:
        SchemaTooNew: It is at one that is not known here.
    """
    found = _found(connection, schema)
    if found is not None and found not in known:
        raise _too_new(connection, schema, found, known)
    return found


def is_current(connection: Connection, schema: str, known: Sequence[str]) -> bool:
    """Whether the schema is at this queuer's newest revision, or at a newer one that it works with.

    Raises:
        SchemaTooNew: It is at a revision that is not known here, and does not work with this queuer.
    """
    found, newest = _found(connection, schema), known[-1]
    if found is None or found in known:
        return found == newest
    if newest not in _recorded(connection, schema, found):
        raise _too_new(connection, schema, found, known)
    return True


def _found(connection: Connection, schema: str) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE, schema):
        return None
    query = text(f"SELECT version_num FROM {_table(schema)}".replace(":", r"\:"))  # noqa: S608 - quoted
    found: str | None = connection.scalars(query).one_or_none()
    return found


def _too_new(connection: Connection, schema: str, found: str, known: Sequence[str]) -> SchemaTooNew:
    working = ", ".join(_recorded(connection, schema, found)) or "none but its own"
    return SchemaTooNew(
        f"the schema {schema!r} is at revision {found}, which this queuer does not know (its newest is {known[-1]}),"
        f" and which works with {working}; a newer version migrated it: upgrade queuer here, too"
    )


def _recorded(connection: Connection, schema: str, revision: str) -> list[str]:
    query = text("SELECT obj_description(to_regclass(:table), 'pg_class')")
    heading, _, working = str(connection.scalar(query, {"table": _table(schema)})).partition(WORKS_WITH)
    return working.split(", ") if heading == revision else []


def _table(schema: str) -> str:
    return sql.Identifier(schema, VERSION_TABLE).as_string()
