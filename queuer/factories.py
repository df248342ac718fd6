"""How people make a queuer: by the environment, by a configuration, or on an application's engine."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from queuer.cipher import Key, keys_from_env, read_keys
from queuer.client import StaticQueuer
from queuer.config import PREFIX, DatabaseConfiguration
from queuer.database import embedded
from queuer.database.application_engines import source_of
from queuer.database.sources import Source
from queuer.foreign import is_a, plain_number, shown
from queuer.options import OnError, check_name
from queuer.queuer import Queuer

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

#: Environment variable of the `listen_url` of queuers on an application's engine.
LISTEN_URL_VARIABLE = f"{PREFIX}LISTEN_URL"


def new_queuer(name: str, max_concurrency: int, *options: OnError) -> Queuer:
    """A queuer on the database of `QUEUER_DB_*`; with none of them set, on an embedded one (`queuer[embedded]`).

    Makes sure that the schema is at the newest revision, and makes the worker known.

    Args:
        name: Of the worker, 1 to 100 characters. Need not be unique.
        max_concurrency: Jobs that it runs at once, at most.
        options: One `OnError` for jobs that bring none of their own.

    Raises:
        ValueError: An argument is not allowed. Nothing was opened.
        ConfigurationError: A variable is blank or malformed, or the server can't do what is asked.
        DatabaseUnavailable: The server can't be reached.
        SchemaTooNew: A newer queuer migrated the database.
    """
    _check(name, max_concurrency, options)
    return Queuer(name, max_concurrency, _configured(None, keys_from_env()), *options)


def new_queuer_with_db(
    name: str,
    max_concurrency: int,
    encryption_key: str = "",
    db_config: DatabaseConfiguration | None = None,
    *options: OnError,
) -> Queuer:
    """Like `new_queuer`, on the database that is given; None = that of the environment.

    Args:
        encryption_key: One key or several, separated by commas: 32 bytes in base64, or a passphrase. Jobs are encrypted
            with the first, and decrypted with any. Empty = no encryption.
    """
    _check(name, max_concurrency, options)
    keys = read_keys(encryption_key, "encryption_key")
    return Queuer(name, max_concurrency, _configured(db_config, keys), *options)


def new_queuer_with_engine(
    name: str,
    max_concurrency: int,
    engine: "Engine | AsyncEngine",
    *options: OnError,
    encryption_key: str = "",
    schema: str | None = None,
    listen_url: str | None = None,
) -> Queuer:
    """Like `new_queuer`, on the engine of an application, which stays the application's: it is never disposed of.

    The engine's pool, its event hooks and its `schema_translate_map` count. While it works the queuer takes at most
    three connections at once from the pool, and none while nothing happens; two more are its own, outside of the pool:
    the listener's and the heartbeat's. A pool of five is enough.

    A psycopg 3 `AsyncEngine` serves the `_async` methods; the worker, which lives in threads, opens connections of its
    own by the engine's URL. So it does, for everything, when the engine is on another driver (asyncpg, psycopg2).

    Args:
        encryption_key: As for `new_queuer_with_db`.
        schema: Of the queue's tables. None = where the engine's `schema_translate_map` puts tables without a schema,
            else `public`. The map also applies to the name that is given here.
        listen_url: When the engine goes through a pooler such as PgBouncer: a URL of the server itself, for
            notifications; see `DatabaseConfiguration`. None = that of `QUEUER_DB_LISTEN_URL`, if it is set.

    Raises:
        TypeError: Not an engine.
        ConfigurationError: An engine of another database than PostgreSQL.
        ValueError, DatabaseUnavailable, SchemaTooNew: As for `new_queuer`.
    """
    _check(name, max_concurrency, options)
    keys = read_keys(encryption_key, "encryption_key")
    return Queuer(name, max_concurrency, source_of(engine, schema, _listen_url(listen_url), keys), *options)


def new_static_queuer(
    db_config: DatabaseConfiguration | None = None,
    *,
    encryption_key: str | None = None,
    engine: "Engine | AsyncEngine | None" = None,
    schema: str | None = None,
    listen_url: str | None = None,
) -> StaticQueuer:
    """A queuer that adds jobs, finds them and steers them, has no row among the workers, and runs nothing.

    Args:
        db_config: None = that of the environment.
        encryption_key: As for `new_queuer_with_db`; None = that of the environment.
        engine, schema, listen_url: Instead: an application's engine, as for `new_queuer_with_engine`.

    Raises like `new_queuer`.
    """
    return StaticQueuer(source_for(db_config, encryption_key, engine, schema, listen_url))


def source_for(
    config: DatabaseConfiguration | None,
    encryption_key: str | None,
    engine: "Engine | AsyncEngine | None",
    schema: str | None,
    listen_url: str | None,
) -> Source:
    """Where connections come from, by the arguments of `new_static_queuer`."""
    keys = keys_from_env() if encryption_key is None else read_keys(encryption_key, "encryption_key")
    if engine is None:
        if schema is not None or listen_url is not None:
            raise ValueError("schema and listen_url go with an engine; put them into the DatabaseConfiguration")
        return _configured(config, keys)
    if config is not None:
        raise ValueError("both a db_config and an engine are given; allowed is one of them")
    return source_of(engine, schema, _listen_url(listen_url), keys)


def _listen_url(given: str | None) -> str | None:
    return os.environ.get(LISTEN_URL_VARIABLE) if given is None else given


def _check(name: object, max_concurrency: object, options: tuple[object, ...]) -> None:
    check_name("name", name)
    slots = plain_number(max_concurrency)
    if not isinstance(slots, int) or not 1 <= slots < 2**31:
        raise ValueError(f"max_concurrency is {shown(max_concurrency)}; allowed is a whole number, 1 or more")
    if len(options) > 1 or not all(is_a(option, OnError) for option in options):
        raise ValueError(f"options are {shown(options)}; allowed is one OnError, or none")


def _configured(config: DatabaseConfiguration | None, keys: Sequence[Key]) -> Source:
    if config is not None and not is_a(config, DatabaseConfiguration):
        raise TypeError(f"db_config is {shown(config)}; allowed is a DatabaseConfiguration or None")
    return Source(config or embedded.default_configuration(), keys)
