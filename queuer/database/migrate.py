"""Brings the schema to the newest revision, for any number of processes at once."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.schema import CreateSchema

from queuer.config import DatabaseConfiguration
from queuer.database.engines import check_server, first_line, translated
from queuer.errors import ConfigurationError, SchemaTooNew
from queuer.models import Base
from queuer.repositories.timescale import functions_of

VERSION_TABLE = "queuer_alembic_version"

# Alembic's `context` and `op` are globals of the process.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Target:
    """What `alembic/env.py` works on: a connection with an open transaction, which its owner commits."""

    connection: Connection
    schema: str
    with_timescale: bool | None


def upgrade(engine: Engine, config: DatabaseConfiguration) -> None:
    """Makes sure that the schema exists and is at the newest revision. One query when it is.

    Raises:
        DatabaseUnavailable: The server can't be reached.
        SchemaTooNew: A newer queuer migrated it.
        ConfigurationError: The server is too old, or has no TimescaleDB though it is required.
    """
    scripts = ScriptDirectory(str(folder()))
    with translated(config), engine.begin() as connection:
        check_server(connection)
        if not is_current(connection, config.schema, scripts):
            with _permitted(config):
                _run_alembic(Target(connection, config.schema, config.with_timescale))
        if config.with_timescale:
            _require_hypertable(connection, config.schema)


@contextmanager
def _permitted(config: DatabaseConfiguration) -> Iterator[None]:
    try:
        yield
    except ProgrammingError as error:
        if isinstance(error.orig, psycopg.errors.DuplicateTable):
            raise ConfigurationError(
                f"the schema {config.schema!r} has tables of another application, or of queuerPy:"
                f" {first_line(error)}; give the queue a schema of its own with QUEUER_DB_SCHEMA or"
                " DatabaseConfiguration(schema=…)"
            ) from error
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        raise ConfigurationError(
            f"user {config.username!r} may not make the queue's tables in the schema {config.schema!r}:"
            f' {first_line(error)}; grant it CREATE ON SCHEMA "{config.schema}", or let its owner run'
            " `alembic upgrade head`"
        ) from error


def folder() -> Path:
    """Where the revisions are: inside the package when it came as a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "alembic"


def is_current(connection: Connection, schema: str, scripts: ScriptDirectory) -> bool:
    """Whether the schema is at the newest revision. Raises `SchemaTooNew` when it is at one that is not known here."""
    options = {"version_table": VERSION_TABLE, "version_table_schema": schema}
    found = set(MigrationContext.configure(connection, opts=options).get_current_heads())
    known = {script.revision for script in scripts.walk_revisions()}
    if found - known:
        raise SchemaTooNew(
            f"the schema {schema!r} is at revision {', '.join(sorted(found - known))}, which this queuer does not know"
            f" (its newest is {scripts.get_current_head()}); a newer version migrated it: upgrade queuer here, too"
        )
    return found == set(scripts.get_heads())


def _run_alembic(target: Target) -> None:
    config = Config(attributes={"target": target})
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    with _one_at_a_time:
        command.upgrade(config, "head")


def prepare(target: Target) -> None:
    """Waits until no other process migrates this schema, creates it, and makes it the one that Alembic looks at."""
    connection, schema = target.connection, target.schema
    # Held until the transaction ends, also when the process is killed.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_key(schema)})
    if not inspect(connection).has_schema(schema):
        connection.execute(CreateSchema(schema))
    path = sql.Identifier(schema).as_string()
    connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})
    # The models have no schema, and autogenerate compares such tables with those of the default one.
    connection.dialect.default_schema_name = schema


def _lock_key(schema: str) -> int:
    digest = hashlib.sha256(f"queuer migration of {schema}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _require_hypertable(connection: Connection, schema: str) -> None:
    if functions_of(connection, schema) is None:
        raise ConfigurationError(
            f"with_timescale is True, but job_archive in the schema {schema!r} is a plain table: it was migrated where"
            " TimescaleDB was not offered, or with with_timescale=False; use None or False, or another schema"
        )


def include_name(name: str | None, type_: str, _parents: object) -> bool:
    """For Alembic's autogenerate: other applications' tables in our schema are none of our business."""
    return type_ != "table" or name in Base.metadata.tables
