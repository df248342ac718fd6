"""The queue's revisions as Alembic sees them, and with which of them an older queuer goes on working.

`queuer.database.revisions` says what for, and reads what is written here.
"""

from functools import cache
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import text

from queuer.database.revisions import VERSION_TABLE, WORKS_WITH

#: What each revision names: the oldest one whose queuer works with the schema as this one leaves it. None = this one.
OLDEST_COMPATIBLE = "oldest_compatible"


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
    said = [head + WORKS_WITH + ", ".join(works_with(ctx.script, head)) for head in heads]
    comment = sql.Literal(said[0]) if said else sql.NULL
    table = sql.Identifier(ctx.opts["version_table_schema"], VERSION_TABLE)
    statement = sql.SQL("COMMENT ON TABLE {} IS {}").format(table, comment).as_string()
    ctx.execute(text(statement.replace(":", r"\:")))
