"""How the migrations run: from the command line, and from `queuer.database.migrate`, which passes its connection.

On the command line the database is that of `-x url=…` (with `-x schema=…`, `-x timescale=true|false|auto`), else of
`QUEUER_DB_*`, else the embedded one.
"""

import os
from logging.config import fileConfig
from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Connection
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.types import TypeEngine

from queuer.config import DatabaseConfiguration
from queuer.database import embedded, engines, migrate, revisions
from queuer.migrations import history
from queuer.models import Base
from queuer.repositories.timescale import resolved


def main() -> None:
    passed: migrate.Target | None = context.config.attributes.get("target")
    if passed is not None:
        run(passed)
        return
    if context.config.config_file_name:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    config = configuration()
    if context.is_offline_mode():
        write_sql(config)
        return
    engine = engines.create(config, application_name="queuer alembic")
    with engine.begin() as connection:
        run(migrate.Target(connection, config.schema, config.with_timescale))
    engine.dispose()


def configuration() -> DatabaseConfiguration:
    given = context.get_x_argument(as_dictionary=True)
    if not given:
        return embedded.default_configuration()
    known = {"QUEUER_DB_SCHEMA": given.get("schema"), "QUEUER_DB_WITH_TIMESCALE": given.get("timescale")}
    environ = {**os.environ, **{name: value for name, value in known.items() if value is not None}}
    if "url" not in given:
        return DatabaseConfiguration.from_env(environ)
    read = DatabaseConfiguration.from_env({"QUEUER_DB_HOST": "-", **environ})
    return DatabaseConfiguration.from_url(given["url"], schema=read.schema, with_timescale=read.with_timescale)


def run(target: migrate.Target) -> None:
    migrate.prepare(target)
    with_timescale = resolved(target.connection, target.with_timescale)
    configure(connection=target.connection, schema=target.schema, with_timescale=with_timescale)
    with context.begin_transaction():
        context.run_migrations()


def write_sql(config: DatabaseConfiguration) -> None:
    configure(schema=config.schema, with_timescale=config.with_timescale, dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        migrate.write_schema(context.get_context(), config.schema)
        context.run_migrations()


def configure(
    *, schema: str, with_timescale: bool | None, connection: Connection | None = None, **options: object
) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=migrate.include_name,
        compare_type=compare_type,
        compare_server_default=True,
        version_table=revisions.VERSION_TABLE,
        version_table_schema=schema,
        on_version_apply=history.record,
        # read by the revisions
        queuer_schema=schema,
        queuer_with_timescale=with_timescale,
        **options,
    )


def compare_type(
    migration: MigrationContext,
    found: Column[Any],
    modelled: Column[Any],
    found_type: TypeEngine[Any],
    _modelled_type: TypeEngine[Any],
) -> bool | None:
    """Whether a column is of another type than the model says. A domain counts as what it is made of."""
    if not isinstance(found_type, DOMAIN):
        return None  # Alembic's own way
    return migration.impl.compare_type(Column(found.name, found_type.data_type), modelled)


main()
