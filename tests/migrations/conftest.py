from dataclasses import replace
from pathlib import Path

import pytest
from support.alembic_application import Application, among, called
from support.queues import Place

from queuer import DatabaseConfiguration


@pytest.fixture(params=["public", "queue"])
def place(request: pytest.FixtureRequest, empty_config: DatabaseConfiguration) -> Place:
    """An empty database, and the schema in it where the queue shall be."""
    return Place(replace(empty_config, schema=request.param))


@pytest.fixture(params=[among, called])
def application(request: pytest.FixtureRequest, tmp_path: Path, place: Place) -> Application:
    """An application of each kind, which was not migrated yet."""
    made: Application = request.param(tmp_path, place.config)
    return made
