"""Which revisions of the schema this queuer knows, and with which ones that it does not know it works all the same.

A revision that only adds to the schema leaves older versions of queuer working. It says so in `oldest_compatible`, and
that is written beside the revision into the database, as a comment on the version table: so an older version, which has
no file of the revision, learns whether it can go on.
"""

from functools import cache
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, text

from queuer.errors import SchemaTooNew

VERSION_TABLE = "queuer_alembic_version"

#: What each revision names: the oldest one whose queuer works with the schema as this one leaves it. None = this one.
OLDEST_COMPATIBLE = "oldest_compatible"

_WORKS_WITH = " works with queuer of revision "


@cache
def scripts_in(folder: Path) -> ScriptDirectory:
    """The revisions that this queuer brings."""
    return ScriptDirectory(str(folder))


def works_with(scripts: ScriptDirectory, revision: str) -> list[str]:
    """The revisions whose queuer works with the schema as `revision` leaves it, newest first."""
    oldest = getattr(scripts.get_revision(revision).module, OLDEST_COMPATIBLE, None) or revision
    return [script.revision for script in scripts.iterate_revisions(revision, oldest, inclusive=True)]


def record(*, ctx: MigrationContext, heads: set[str], **_: Any) -> None:
    """Writes down what works with the schema now. Alembic calls it after each revision, up or down."""
    assert ctx.script is not None  # noqa: S101 - Alembic's own type allows for less
    said = [head + _WORKS_WITH + ", ".join(works_with(ctx.script, head)) for head in heads]
    comment = sql.Literal(said[0]) if said else sql.NULL
    table = sql.Identifier(ctx.opts["version_table_schema"], VERSION_TABLE)
    statement = sql.SQL("COMMENT ON TABLE {} IS {}").format(table, comment).as_string()
    ctx.execute(text(statement.replace(":", r"\:")))


def current(connection: Connection, schema: str, scripts: ScriptDirectory) -> str | None:
    """The revision that the schema is at; None = it has none of our tables.

    The queue's own version table alone says so, whoever ran the revisions: a queuer, this folder's `env.py`, or an
    application's Alembic.

    Raises:
        SchemaTooNew: It is at one that is not known here.
    """
    found = _found(connection, schema)
    if not _is_known(found, scripts):
        raise _too_new(connection, schema, found, scripts)
    return found


def is_current(connection: Connection, schema: str, scripts: ScriptDirectory) -> bool:
    """Whether the schema is at this queuer's newest revision, or at a newer one that it works with.

    Raises:
        SchemaTooNew: It is at a revision that is not known here, and does not work with this queuer.
    """
    found, newest = _found(connection, schema), scripts.get_current_head()
    if _is_known(found, scripts):
        return found == newest
    if newest not in _recorded(connection, schema, found):
        raise _too_new(connection, schema, found, scripts)
    return True


def _found(connection: Connection, schema: str) -> str | None:
    options = {"version_table": VERSION_TABLE, "version_table_schema": schema}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _is_known(revision: str | None, scripts: ScriptDirectory) -> bool:
    return revision is None or revision in {script.revision for script in scripts.walk_revisions()}


def _too_new(connection: Connection, schema: str, found: str | None, scripts: ScriptDirectory) -> SchemaTooNew:
    working = ", ".join(_recorded(connection, schema, found)) or "none but its own"
    return SchemaTooNew(
        f"the schema {schema!r} is at revision {found}, which this queuer does not know (its newest is"
        f" {scripts.get_current_head()}), and which works with {working}; a newer version migrated it: upgrade queuer"
        " here, too"
    )


def _recorded(connection: Connection, schema: str, revision: str | None) -> list[str]:
    table = sql.Identifier(schema, VERSION_TABLE).as_string()
    query = text("SELECT obj_description(to_regclass(:table), 'pg_class')")
    heading, _, working = str(connection.scalar(query, {"table": table})).partition(_WORKS_WITH)
    return working.split(", ") if heading == revision else []
