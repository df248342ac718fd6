from collections.abc import Iterator

import pytest
from support.hearing import ADDED, Heard, listen

from queuer import DatabaseConfiguration
from queuer.database.listener import Listener
from queuer.database.sources import Source


@pytest.fixture
def listener(config: DatabaseConfiguration) -> Iterator[Listener]:
    listener = Listener(Source(config))
    yield listener
    listener.close()


@pytest.fixture
def added(listener: Listener) -> Heard:
    return listen(listener, ADDED)
