"""Applications whose tests roll back, as SQLAlchemy's documentation has them."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session


@pytest.fixture
def connection(application: Engine) -> Iterator[Connection]:
    """A transaction that is never committed."""
    with application.connect() as connection:
        transaction = connection.begin()
        yield connection
        if transaction.is_active:
            transaction.rollback()


@pytest.fixture
def rolled_back(connection: Connection) -> Iterator[Session]:
    """The application's session, which may commit as it likes."""
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        yield session
