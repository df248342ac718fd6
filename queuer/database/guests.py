"""Sessions of our own in transactions of others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import ORMExecuteState, Session


class _Guest(Session):
    """A session of our own in a caller's transaction, which is theirs to commit or to roll back."""


@event.listens_for(_Guest, "do_orm_execute")
def _bring_schema(state: ORMExecuteState) -> None:
    # With each statement, since the connection is the caller's, and may translate schemas for its own.
    state.update_execution_options(schema_translate_map={None: state.session.info["schema"]})


@contextmanager
def guest(connection: Connection, schema: str, **info: Any) -> Iterator[Session]:
    session = _Guest(
        connection,
        info={"schema": schema, **info},
        join_transaction_mode="rollback_only",
        autoflush=False,
        expire_on_commit=False,
    )
    try:
        yield session
    finally:
        session.close()
