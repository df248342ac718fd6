"""Brings the schema to the newest revision, for any number of processes at once."""

import hashlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg import sql
from sqlalchemy import BigInteger, Connection, Engine, func, inspect, literal, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.schema import CreateSchema

from queuer.config import DatabaseConfiguration
from queuer.database.database import Database
from queuer.database.engines import (
    check_server,
    first_line,
    sqlstate_of,
    translated,
    was_locked_out,
    was_rolled_back,
)
from queuer.database.revisions import is_current, known_in
from queuer.errors import ConfigurationError, DatabaseUnavailable
from queuer.models import Base
from queuer.repositories.timescale import functions_of
from queuer.retry import reconnect_delay

if TYPE_CHECKING:
    from alembic.migration import MigrationContext

logger = logging.getLogger(__name__)

#: Times that a migration is tried whose locks are not to be had; some two minutes.
TRIES = 10

#: Of the transaction that migrates. Who waits for a lock on a table keeps all who come later from using it: so not for
#: long, and then again. What has its locks may take its time.
SETTINGS = {"lock_timeout": "5s", "statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}

_DUPLICATE_TABLE = "42P07"
_INSUFFICIENT_PRIVILEGE = "42501"

# Without an action, or with RESTRICT. The job would run, could not be archived, and would run again.
_HOLDING = """
SELECT conname AS constraint, conrelid::regclass::text AS table, relname AS referred
FROM pg_constraint JOIN pg_class c ON c.oid = confrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE contype = 'f' AND confdeltype IN ('a', 'r') AND nspname = :schema
    AND relname IN ('job', 'job_archive', 'worker')
"""

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

    Leaves a schema alone that a newer queuer migrated, as long as that works with this one, too.

    Raises:
        DatabaseUnavailable: The server can't be reached, or the tables are in use again and again.
        SchemaTooNew: A newer queuer migrated it, and it does not work with this one.
        ConfigurationError: The server is too old; or has no TimescaleDB though it is required; or a foreign key of
            another table's keeps jobs from ending.
    """
    for tries in range(1, TRIES):
        try:
            return _upgrade(engine, config)
        except DatabaseUnavailable as error:
            if not (was_rolled_back(error) or was_locked_out(error)):
                raise
            logger.warning("the schema is not migrated yet: %s", error)
            time.sleep(reconnect_delay(tries))
    return _upgrade(engine, config)


def _upgrade(engine: Engine, config: DatabaseConfiguration) -> None:
    with translated(config), engine.begin() as connection:
        check_server(connection)
        if not is_current(connection, config.schema, known_in(folder())):
            with explained(config.schema, config.username, "QUEUER_DB_SCHEMA or DatabaseConfiguration(schema=…)"):
                _run_alembic(Target(connection, config.schema, config.with_timescale))
        if config.with_timescale:
            _require_hypertable(connection, config.schema)
        _require_rows_can_go(connection, config.schema)


@contextmanager
def explained(schema: str, username: str | None, where_to_say: str) -> Iterator[None]:
    """Turns what PostgreSQL refuses into `ConfigurationError`: names that are taken, and privileges that are missing.

    Args:
        where_to_say: How the caller chooses another schema.
    """
    try:
        yield
    except ProgrammingError as error:
        sqlstate = sqlstate_of(error)
        if sqlstate == _DUPLICATE_TABLE:
            raise ConfigurationError(
                f"the schema {schema!r} has tables of another application, or of queuerPy:"
                f" {first_line(error)}; give the queue a schema of its own with {where_to_say}"
            ) from error
        if sqlstate != _INSUFFICIENT_PRIVILEGE:
            raise
        who = f"user {username!r}" if username else "this user"
        raise ConfigurationError(
            f"{who} may not make the queue's tables in the schema {schema!r}:"
            f' {first_line(error)}; grant it CREATE ON SCHEMA "{schema}", or let its owner run'
            " `python -m queuer.migrations upgrade head`"
        ) from error


def folder() -> Path:
    """Where the revisions are: inside the package when it came as a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "_migrations"
    return shipped if shipped.is_dir() else package.parent / "alembic"


def check(database: Database) -> None:
    """Raises `SchemaTooNew` when a newer queuer has migrated the schema to what this one can't work with."""
    known = known_in(folder())
    database.run_single(lambda session: is_current(session.connection(), database.config.schema, known))


def _run_alembic(target: Target) -> None:
    from alembic import command  # noqa: PLC0415 - 9 MB that only those need whose schema is behind
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"target": target})
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    with _one_at_a_time:
        command.upgrade(config, "head")


def prepare(target: Target) -> None:
    """Waits until no other process migrates this schema, creates it, and makes it the one that Alembic looks at."""
    connection, schema = target.connection, target.schema
    lock(connection, schema)
    for name, value in SETTINGS.items():
        connection.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})
    create_schema(connection, schema)
    path = sql.Identifier(schema).as_string()
    connection.execute(text("SELECT set_config('search_path', :path, true)"), {"path": path})
    # The models have no schema, and autogenerate compares such tables with those of the default one.
    connection.dialect.default_schema_name = schema


def lock(connection: Connection, schema: str) -> None:
    """Waits until no other process migrates this schema. Held until the transaction ends, also when it is killed."""
    # typed, because asyncpg would take any int for a small one
    connection.execute(select(func.pg_advisory_xact_lock(literal(_lock_key(schema), BigInteger))))


def create_schema(connection: Connection, schema: str) -> None:
    """Creates the schema when it is missing."""
    # IF NOT EXISTS would want the privilege to create it, also when it exists.
    if not inspect(connection).has_schema(schema):
        connection.execute(CreateSchema(schema))


def write_schema(context: "MigrationContext", schema: str) -> None:
    """`create_schema` as SQL, which can't ask the database."""
    if schema != "public":  # every database has that one
        context.impl.static_output(f"CREATE SCHEMA IF NOT EXISTS {sql.Identifier(schema).as_string()};")


def _lock_key(schema: str) -> int:
    digest = hashlib.sha256(f"queuer migration of {schema}".encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def _require_hypertable(connection: Connection, schema: str) -> None:
    if functions_of(connection, schema) is None:
        raise ConfigurationError(
            f"with_timescale is True, but job_archive in the schema {schema!r} is a plain table: it was migrated where"
            " TimescaleDB was not offered, or with with_timescale=False; use None or False, or another schema"
        )


def _require_rows_can_go(connection: Connection, schema: str) -> None:
    held = connection.execute(text(_HOLDING), {"schema": schema}).first()
    if held is not None:
        raise ConfigurationError(
            f"foreign key {held.constraint!r} of table {held.table} would keep rows of {held.referred} from being"
            " deleted: a job that ends leaves the table job, and old workers and ended jobs are deleted; declare it ON"
            " DELETE SET NULL, or keep the rid without a foreign key"
        )


def include_name(name: str | None, type_: str, _parents: object) -> bool:
    """For Alembic's autogenerate: other applications' tables in our schema are none of our business."""
    return type_ != "table" or name in Base.metadata.tables
