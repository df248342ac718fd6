"""The roles of docs/security.md, made by the SQL that stands there."""

import re
from contextlib import suppress
from dataclasses import replace

import psycopg
from psycopg import sql

from queuer import DatabaseConfiguration
from queuer.database import migrate

PAGE = migrate.folder().parent / "docs" / "security.md"
ROLES = ("owner", "worker", "producer", "reader")
PASSWORD = "queuer-test"

#: A server is given to several processes of tests at once; one of them makes the role.
CREATE_ROLE = """
DO $$ BEGIN
    CREATE ROLE {role} LOGIN PASSWORD {password};
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""


def documented(name: str, schema: str) -> str:
    """A block of SQL of the page, for the roles of the tests and a schema."""
    block = re.search(rf'^```sql title="{name}\.sql"\n(.*?)^```$', PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None, name
    text = re.sub(r"\bqueuer_(owner|worker|producer|reader)\b", r"queuer_test_\1", block[1])
    return re.sub(r"\bjobs\b", lambda _: sql.Identifier(schema).as_string(), text)


def create(connection: psycopg.Connection, schema: str) -> None:
    """Makes what roles.sql makes, as far as it is not there: roles belong to the whole server."""
    for role in ROLES:
        statement = sql.SQL(CREATE_ROLE).format(role=sql.Identifier(f"queuer_test_{role}"), password=PASSWORD)
        connection.execute(statement)
    for statement in documented("roles", schema).split(";\n"):
        if "CREATE ROLE" not in statement and not (schema == "public" and "CREATE SCHEMA" in statement):
            _unless_changed_at_once(connection, statement)


def _unless_changed_at_once(connection: psycopg.Connection, statement: str) -> None:
    with suppress(psycopg.errors.InternalError):  # "tuple concurrently updated", by another process of tests
        connection.execute(statement)


def grant(connection: psycopg.Connection, schema: str) -> None:
    """Grants what grants.sql grants. To be called as who owns the tables."""
    connection.execute(documented("grants", schema))


def as_role(config: DatabaseConfiguration, role: str) -> DatabaseConfiguration:
    """The same database for another user."""
    return replace(config, username=f"queuer_test_{role}", password=PASSWORD)
