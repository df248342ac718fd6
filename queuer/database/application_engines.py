"""Takes an application's engine, whatever its driver, and tells how to reach the same database."""

import logging
from collections.abc import Sequence
from typing import Any

from psycopg import pq
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from queuer.cipher import Key
from queuer.config import DatabaseConfiguration
from queuer.database.engines import first_line
from queuer.database.sources import AsyncEngineSource, EngineSource, Source
from queuer.errors import ConfigurationError, DatabaseUnavailable

logger = logging.getLogger(__name__)

#: libpq's names of what has a field of its own.
_FIELDS = {"host": "host", "port": "port", "dbname": "database", "user": "username", "password": "password"}
_FIELDS |= {"sslmode": "sslmode"}


def source_of(engine: object, schema: str | None, listen_url: str | None, keys: Sequence[Key] = ()) -> Source:
    """Where a queuer's connections come from when it joins an application.

    A psycopg 3 engine is used itself: an `Engine` by threads, an `AsyncEngine` by coroutines. For what is left the
    queuer opens connections of its own to the same database.

    Args:
        engine: An `Engine` or an `AsyncEngine` on PostgreSQL, whatever its driver.
        schema: Of the queue's tables. None = where the engine's `schema_translate_map` puts tables without one, else
            `public`. The map also applies to the name that is given.
        listen_url: As of `DatabaseConfiguration`.
        keys: Of the encryption.

    Raises:
        TypeError: Not an engine.
        ConfigurationError: An engine of another database.
        DatabaseUnavailable: The server can't be reached.
    """
    if not isinstance(engine, (Engine, AsyncEngine)):
        raise TypeError(f"engine is {engine!r}; allowed is a SQLAlchemy Engine or AsyncEngine")
    if schema is not None and not isinstance(schema, str):
        raise TypeError(f"schema is {schema!r}; allowed is a str or None")
    sync = engine if isinstance(engine, Engine) else engine.sync_engine
    if sync.dialect.name != "postgresql":
        raise ConfigurationError(f"the engine is of {sync.dialect.name!r}; allowed is one of PostgreSQL")
    translate = sync.get_execution_options().get("schema_translate_map") or {}
    translated: str = translate.get(schema, schema) or "public"
    if isinstance(engine, AsyncEngine):
        config = _configuration(_parameters_in_url(sync), translated, listen_url)
        return AsyncEngineSource(engine, config, keys) if sync.dialect.driver == "psycopg" else Source(config, keys)
    config = _configuration(_parameters_in_use(engine), translated, listen_url)
    return EngineSource(engine, config, keys) if engine.dialect.driver == "psycopg" else Source(config, keys)


def _parameters_in_use(engine: Engine) -> dict[str, Any]:
    """libpq's parameters of the connections that the engine makes, also those that `connect_args` or a hook add."""
    try:
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            match engine.dialect.driver:
                case "psycopg":
                    info = driver.info  # its parameters leave out what libpq would choose by itself
                    own = {"host": info.host, "port": info.port, "dbname": info.dbname, "user": info.user}
                    return {**own, **info.get_parameters(), "password": info.password}
                case "psycopg2":
                    return {**driver.info.dsn_parameters, "password": driver.info.password}
                case _:
                    return _parameters_in_url(engine)
    except DBAPIError as error:
        shown = engine.url.difference_update_query(["password", "sslpassword"])
        raise DatabaseUnavailable(
            f"can't use PostgreSQL at {shown.render_as_string()}: {first_line(error)}; check that the server runs,"
            " and the engine's URL"
        ) from error


def _parameters_in_url(engine: Engine) -> dict[str, Any]:
    """libpq's parameters, as far as they stand in the engine's URL."""
    url = engine.url
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    if "ssl" in query:  # asyncpg's word for it
        query.setdefault("sslmode", query.pop("ssl"))
    own = {"host": url.host, "port": url.port, "dbname": url.database, "user": url.username, "password": url.password}
    return {name: value for name, value in own.items() if value} | query


def _configuration(parameters: dict[str, Any], schema: str, listen_url: str | None) -> DatabaseConfiguration:
    known = {default.keyword.decode() for default in pq.Conninfo.get_defaults()}
    if unknown := sorted(set(parameters) - known):
        logger.info("the engine has %s, which its driver alone knows; connections of queuer's own do without", unknown)
    found = {name: value for name, value in parameters.items() if name in known and value}
    named = {field: found.pop(name) for name, field in _FIELDS.items() if name in found}
    # Each connection says what it is for, and wants a server that it can write to.
    found = {name: value for name, value in found.items() if name not in {"application_name", "target_session_attrs"}}
    if "port" in named and "," not in str(named["port"]):  # else a list, one for each host
        named["port"] = int(named["port"])
    return DatabaseConfiguration(**named, schema=schema, parameters=found, listen_url=listen_url)
