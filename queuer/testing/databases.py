"""A migrated database for the tests of an application: a given one, or one of the embedded server's."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

from sqlalchemy import Engine, text

from queuer.config import DatabaseConfiguration
from queuer.database import embedded, engines, migrate

#: Environment variable with the URL of a database for tests.
URL_VARIABLE = "QUEUER_TEST_DATABASE_URL"


@contextmanager
def database_for_tests(url: str = "") -> Iterator[DatabaseConfiguration]:
    """A database with the queue's tables.

    Args:
        url: Of one that exists, and is kept. Empty = that of `QUEUER_TEST_DATABASE_URL`; without that, a new one on the
            embedded server, which is dropped in the end.

    Raises:
        ConfigurationError: The URL is malformed; or there is none, and the extra `queuer[embedded]` is not installed.
        DatabaseUnavailable: The server can't be reached.
    """
    given = url or os.environ.get(URL_VARIABLE, "")
    with _given(given) if given else _embedded() as config:
        with _engine(config) as engine:
            migrate.upgrade(engine, config)
        yield config


@contextmanager
def _given(url: str) -> Iterator[DatabaseConfiguration]:
    yield DatabaseConfiguration.from_url(url)


@contextmanager
def _embedded() -> Iterator[DatabaseConfiguration]:
    server = embedded.start_own()
    name = f"queuer_test_{uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {name}")
    try:
        yield replace(server, database=name)
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(config: DatabaseConfiguration, statement: str) -> None:
    with _engine(config) as engine, engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text(statement))


@contextmanager
def _engine(config: DatabaseConfiguration) -> Iterator[Engine]:
    engine = engines.create(config, application_name="queuer tests", most=1)
    try:
        yield engine
    finally:
        engine.dispose()
