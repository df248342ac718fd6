"""The pytest plugin of queuer: the fixtures `queuer_database`, `queuer_jobs` and `queuer_inline`. See docs/testing.md.

Outside of the package, because pytest imports it at each start: it imports nothing of queuer until a fixture is used.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from queuer import DatabaseConfiguration
    from queuer.testing import AddedJobs, InlineJobs

_URL = "queuer_database_url"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(
        _URL,
        "PostgreSQL for the fixture queuer_database, as postgresql://user@host/database. Else QUEUER_TEST_DATABASE_URL;"
        " else the embedded server.",
        default="",
    )


@pytest.fixture(scope="session")
def queuer_database(pytestconfig: pytest.Config) -> "Iterator[DatabaseConfiguration]":
    """The DatabaseConfiguration of a database with the queue's tables, for the whole run.

    That of the ini option queuer_database_url, or of the environment variable QUEUER_TEST_DATABASE_URL; else a new one
    on the embedded server, which is dropped in the end. Override it to give another.
    """
    from queuer.testing import database_for_tests  # noqa: PLC0415 - not before it is used

    with database_for_tests(pytestconfig.getini(_URL)) as config:
        yield config


@pytest.fixture
def queuer_jobs() -> "Iterator[AddedJobs]":
    """The jobs that the test's code adds: assert_added(task, *args, **kwargs), assert_not_added, count, added."""
    from queuer.testing import AddedJobs  # noqa: PLC0415

    with AddedJobs() as jobs:
        yield jobs


@pytest.fixture
def queuer_inline() -> "Iterator[InlineJobs]":
    """Runs the jobs that the test's code adds when it commits them, in the test's process and transaction."""
    from queuer.testing import InlineJobs  # noqa: PLC0415

    with InlineJobs() as inline:
        yield inline
