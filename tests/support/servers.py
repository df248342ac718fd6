"""PostgreSQL for the tests: where it comes from, and databases on it."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from queuer import DatabaseConfiguration
from queuer.database import embedded, engines, migrate
from support.roles import as_role, create, grant


def given_server() -> AbstractContextManager[DatabaseConfiguration] | None:
    url = os.environ.get("QUEUER_TEST_DATABASE_URL")
    return _given(url) if url else None


@contextmanager
def _given(url: str) -> Iterator[DatabaseConfiguration]:
    yield DatabaseConfiguration.from_url(url)


@contextmanager
def embedded_server() -> Iterator[DatabaseConfiguration]:
    """The library's embedded server, on a directory of its own, with nothing flushed to disk."""
    with TemporaryDirectory(prefix="queuer-tests-") as directory:
        config = embedded.start(Path(directory) / "data")
        with connected(config) as connection:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield config
        embedded.stop(Path(directory) / "data")


def variables(config: DatabaseConfiguration) -> dict[str, str]:
    """What tells a process where the database is."""
    return {
        "QUEUER_DB_HOST": config.host,
        "QUEUER_DB_PORT": str(config.port),
        "QUEUER_DB_DATABASE": config.database,
        "QUEUER_DB_USERNAME": config.username,
        "QUEUER_DB_PASSWORD": config.password,
        "QUEUER_DB_SSLMODE": config.sslmode,
    }


@contextmanager
def timescale_server() -> Iterator[DatabaseConfiguration]:
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - only where there is Docker

    container = PostgresContainer("timescale/timescaledb:latest-pg17", driver="psycopg")
    with container:
        yield DatabaseConfiguration.from_url(container.get_connection_url())


@contextmanager
def connected(config: DatabaseConfiguration) -> Iterator[psycopg.Connection]:
    url = config.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


#: Empties a migrated database, and says what it consists of, so that one that a test has altered is told from others.
CLEAN = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
TRUNCATE job, job_archive, worker RESTART IDENTITY;
DELETE FROM master;
INSERT INTO master DEFAULT VALUES;
"""
FINGERPRINT = """
SELECT (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_proc),
    (SELECT count(*) FROM pg_namespace), (SELECT version_num FROM queuer_alembic_version)
"""


class Databases:
    """Makes databases on one server, and drops them; a migrated one is used again as long as nobody alters it.

    Args:
        role: One of docs/security.md, which the tests have on migrated databases instead of owning them.
    """

    def __init__(self, admin: DatabaseConfiguration, role: str | None = None) -> None:
        self.admin = admin
        self._role = role
        self._numbers = count(1)
        self._template: str | None = None
        self._fingerprint: object = None
        self._free: list[DatabaseConfiguration] = []

    @contextmanager
    def empty(self) -> Iterator[DatabaseConfiguration]:
        config = self._create(template="template0")
        try:
            yield config
        finally:
            self._drop(config)

    @contextmanager
    def migrated(self) -> Iterator[DatabaseConfiguration]:
        config = self._free.pop() if self._free else self._create_migrated()
        try:
            yield as_role(config, self._role) if self._role else config
        finally:
            if self._clean(config) == self._fingerprint:
                self._free.append(config)
            else:
                self._drop(config)

    def as_owner(self, config: DatabaseConfiguration) -> DatabaseConfiguration:
        """The same database for who owns its tables, and may do what a superuser may."""
        return replace(config, username=self.admin.username, password=self.admin.password)

    def execute(self, statement: str) -> None:
        with connected(self.admin) as connection:
            connection.execute(statement)

    def names(self) -> set[str]:
        """The databases of the server."""
        with connected(self.admin) as connection:
            return {name for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}

    def _create_migrated(self) -> DatabaseConfiguration:
        if self._template is None:
            self._template = self._make_template()
        config = self._create(self._template)
        self._fingerprint = self._clean(config)
        return config

    def _make_template(self) -> str:
        config = self._create(template="template0")
        engine = engines.create(config, application_name="tests")
        migrate.upgrade(engine, config)
        engine.dispose()
        if self._role:
            with connected(config) as connection:
                create(connection, config.schema)
                grant(connection, config.schema)
        # A database in use can't be copied, and TimescaleDB's own workers would use it.
        self.execute(f"ALTER DATABASE {config.database} ALLOW_CONNECTIONS false")
        self.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{config.database}'")
        return config.database

    def _clean(self, config: DatabaseConfiguration) -> object:
        try:
            with connected(config) as connection:
                connection.execute(CLEAN)
                return connection.execute(FINGERPRINT).fetchone()
        except psycopg.Error:
            return None

    def _create(self, template: str) -> DatabaseConfiguration:
        name = f"queuer_test_{os.getpid()}_{next(self._numbers)}"
        self.execute(f"DROP DATABASE IF EXISTS {name}")
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return replace(self.admin, database=name)

    def _drop(self, config: DatabaseConfiguration) -> None:
        self.execute(f"DROP DATABASE {config.database} WITH (FORCE)")
