"""Runs the queue's revisions inside a revision of an application's, in its transaction."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep

from queuer.database import migrate, revisions
from queuer.database.engines import check_server
from queuer.errors import ConfigurationError
from queuer.migrations import history
from queuer.migrations.settings import schema_of, with_timescale_of
from queuer.repositories.timescale import resolved

_BASE = "base"

# Where `--sql` has left the queues of a run, by schema: in the options of the application's context.
_LEFT_AT = "queuer_left_at"


class Op(Protocol):
    """What a revision imports by `from alembic import op`."""

    def get_context(self) -> MigrationContext: ...


def upgrade(op: Op, to: str, *, schema: str | None = None, start: str | None = None) -> None:
    """Brings the queue's tables up to one of the queue's revisions. Does nothing when they are there, or further.

    Args:
        op: Alembic's, as a revision of the application's imports it. All is done in that revision's transaction.
        to: The id of the queue's revision, such as "0001".
        schema: The queue's; None = that of `context.configure(queuer_schema=…)` in `env.py`, else "public". Created
            when it is missing.
        start: For `--sql`, which can't ask the database: the revision that the tables are at before. None = where an
            earlier call in the same run left them, else "base".

    Raises:
        ConfigurationError: There is no such revision; or the schema has tables of these names that are not the
            queue's; or the user may not create tables in it; or the server is too old.
        SchemaTooNew: A newer queuer migrated the schema.
    """
    queue = _Queue(op.get_context(), schema)
    there, goal = queue.applied(queue.revision(start) or _BASE), queue.applied(to, or_base=False)
    if there == 0:
        queue.create_schema()
    steps = [MigrationStep.upgrade_from_script(queue.scripts.revision_map, each) for each in queue.history[there:goal]]
    queue.run(steps, to)


def downgrade(op: Op, to: str, *, schema: str | None = None, start: str | None = None) -> None:
    """Takes the queue's tables back to one of the queue's revisions. Does nothing when they are there, or below.

    Args:
        op: Alembic's, as a revision of the application's imports it. All is done in that revision's transaction.
        to: The id of the queue's revision; or "base", which drops the tables with all their jobs.
        schema: As for `upgrade`. The schema itself stays.
        start: For `--sql`, which can't ask the database: the revision that the tables are at before. None = where an
            earlier call in the same run left them.

    Raises:
        ConfigurationError: There is no such revision; or `--sql` was not told where to start.
        SchemaTooNew: A newer queuer migrated the schema.
    """
    queue = _Queue(op.get_context(), schema)
    found = queue.revision(start)
    if found is None and queue.theirs.as_sql:
        raise ConfigurationError(
            "with --sql nobody can tell where the queue's tables are: say it, as in"
            f' migrations.downgrade(op, to={to!r}, start="{queue.history[-1].revision}")'
        )
    there, goal = queue.applied(found or _BASE), queue.applied(to)
    gone = queue.history[goal:there][::-1]
    queue.run([MigrationStep.downgrade_from_script(queue.scripts.revision_map, each) for each in gone], to)


class _Queue:
    """The queue of one schema, as a migration of an application's finds it."""

    def __init__(self, theirs: MigrationContext, schema: str | None) -> None:
        self.theirs = theirs
        self.schema = schema or schema_of(theirs)
        self.scripts = history.scripts_in(migrate.folder())
        #: The revisions, oldest first: they are one line.
        self.history = list(self.scripts.walk_revisions())[::-1]
        self.ids = revisions.known_in(migrate.folder())

    def applied(self, revision: str, *, or_base: bool = True) -> int:
        """How many revisions have been run where the tables are at this one."""
        if revision in self.ids:
            return self.ids.index(revision) + 1
        if revision == _BASE and or_base:
            return 0
        raise ConfigurationError(
            f"{revision!r} is no revision of the queue's; there are {', '.join(self.ids)}. Name one of them: a revision"
            " of yours has to do the same whatever queuer is installed"
        )

    def revision(self, start: str | None) -> str | None:
        """Where the tables are. Keeps other processes from moving them until the transaction ends."""
        if self.theirs.as_sql:
            left: str | None = self.theirs.opts.get(_LEFT_AT, {}).get(self.schema)
            return start or left
        assert self.theirs.connection is not None  # noqa: S101 - for the type checker: only --sql has none
        check_server(self.theirs.connection)
        migrate.lock(self.theirs.connection, self.schema)
        return revisions.current(self.theirs.connection, self.schema, self.ids)

    def create_schema(self) -> None:
        if self.theirs.as_sql:
            migrate.write_schema(self.theirs, self.schema)
        elif self.theirs.connection is not None:
            with self._explained():
                migrate.create_schema(self.theirs.connection, self.schema)

    def run(self, steps: Sequence[MigrationStep], to: str) -> None:
        """Runs these one by one, and writes into the queue's own version table where that leads."""
        if steps:
            ours = self._context(steps)
            with self._explained(), _operations(ours, self.theirs):
                ours.run_migrations()
        self.theirs.opts.setdefault(_LEFT_AT, {})[self.schema] = to

    def _context(self, steps: Sequence[MigrationStep]) -> MigrationContext:
        """A context of our own on their connection: their naming conventions and version table are not for us."""
        theirs = self.theirs
        connection = None if theirs.as_sql else theirs.connection
        with_timescale = with_timescale_of(theirs)
        if connection is not None:
            with_timescale = resolved(connection, with_timescale)
        options = {
            "as_sql": theirs.as_sql,
            "output_buffer": theirs.output_buffer,
            "literal_binds": theirs.as_sql,
            "starting_rev": steps[0].from_revisions_no_deps if theirs.as_sql else None,
            "fn": lambda _heads, _context: steps,
            "version_table": revisions.VERSION_TABLE,
            "version_table_schema": self.schema,
            "script": self.scripts,
            "on_version_apply": (history.record,),
            "queuer_schema": self.schema,
            "queuer_with_timescale": with_timescale,
        }
        return MigrationContext.configure(connection, dialect=theirs.dialect, opts=options)

    def _explained(self) -> AbstractContextManager[None]:
        connection = self.theirs.connection
        username = None if self.theirs.as_sql or connection is None else connection.engine.url.username
        return migrate.explained(self.schema, username, "context.configure(queuer_schema=…) in your env.py")


@contextmanager
def _operations(ours: MigrationContext, theirs: MigrationContext) -> Iterator[None]:
    """Makes `alembic.op`, a global of the process, ours, and theirs again: the rest of their revision uses it."""
    try:
        with Operations.context(ours):
            yield
    finally:
        Operations.context(theirs).__enter__()  # left by Alembic, which entered it before
