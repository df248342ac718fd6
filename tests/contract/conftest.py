"""What the tests of the contract share with each other."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from support.applications import DRIVERS, Base, engine_of

from queuer import DatabaseConfiguration


@pytest.fixture(params=DRIVERS)
def application(request: pytest.FixtureRequest, config: DatabaseConfiguration) -> Iterator[Engine]:
    """The engine of an application that has a table of its own, on each driver."""
    engine = engine_of(config, request.param)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()
