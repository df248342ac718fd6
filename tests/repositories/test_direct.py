"""Statements that go to libpq as they are: what they are given, and what they return."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import ARRAY, Double, Integer, Text, Uuid, bindparam, event, select

from queuer import DatabaseConfiguration
from queuer.database.database import Database
from queuer.database.sources import Source
from queuer.repositories.direct import Prepared, rows

RID = UUID("01a220bb-2363-7821-8a38-c4697667afd9")
HARD = ["", "NULL", "null", 'a "word"', "back\\slash", "{a,b}", " ", "línea\n", "☃", None]


@pytest.fixture(params=[5, None], ids=["prepared", "through a pooler"])
def database(config: DatabaseConfiguration, request: pytest.FixtureRequest) -> Iterator[Database]:
    database = Source(config).for_worker("test")

    @event.listens_for(database.engine, "connect")
    def choose(connection: psycopg.Connection[Any], _record: object) -> None:
        connection.prepare_threshold = request.param

    yield database
    database.close()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "☃ 'quoted'"),
        ("text", None),
        ("bigint", 2**62),
        ("float8", 1.5e-300),
        ("boolean", True),
        ("uuid", RID),
        ("text[]", HARD),
        ("bigint[]", [1, -2, 2**62]),
        ("uuid[]", [RID]),
        ("text[]", []),
    ],
)
def test_what_is_given_comes_back(database: Database, kind: str, value: Any) -> None:
    for _ in range(2):
        found = database.run_direct(lambda direct: rows(direct, f"SELECT %(value)s::{kind}, 5 %% 3", {"value": value}))
        assert found == [(value, 2)]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Text, HARD),
        (Integer, [2**31 - 1, -(2**31)]),
        (Double, [1.5e-300, 0.1, -7.0]),
        (Uuid, [RID, UUID(int=0)]),
        (Text, []),
        (Uuid, None),
    ],
)
def test_a_list_of_outcomes_fields_comes_back(database: Database, kind: type[Any], value: Any) -> None:
    statement = Prepared(select(bindparam("value", type_=ARRAY(kind))))
    for _ in range(2):
        assert database.run_direct(lambda direct: statement.scalar(direct, {"value": value})) == value


def test_what_text_can_not_hold_is_refused(database: Database) -> None:
    with pytest.raises(psycopg.DataError, match="NUL"):
        database.run_direct(lambda direct: rows(direct, "SELECT %(value)s::text", {"value": "a\0b"}))


def test_an_error_of_the_server_is_that_of_the_driver(database: Database) -> None:
    for _ in range(2):  # the connection can be used again
        with pytest.raises(psycopg.errors.DivisionByZero):
            database.run_direct(lambda direct: rows(direct, "SELECT 1 / %(value)s::int", {"value": 0}))
        with pytest.raises(psycopg.errors.UndefinedColumn):
            database.run_direct(lambda direct: rows(direct, "SELECT nothing", {}))
