"""What an application of the tests has: engines on every driver, and a table of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import URL, Engine, create_engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from queuer import DatabaseConfiguration

DRIVERS = ("psycopg", "psycopg2")
ASYNC_DRIVERS = ("psycopg", "asyncpg")


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]


def items(session: Session) -> list[str]:
    """What was ordered, in that order."""
    return list(session.scalars(select(Order.item).order_by(Order.id)))


def engine_of(config: DatabaseConfiguration, driver: str = "psycopg", **options: Any) -> Engine:
    """An application's engine."""
    return create_engine(_url_of(config, driver), **options)


@asynccontextmanager
async def async_engine_of(
    config: DatabaseConfiguration, driver: str = "psycopg", **options: Any
) -> AsyncIterator[AsyncEngine]:
    """An application's async engine, which is disposed of at the end."""
    url = _url_of(config, driver)
    if driver == "asyncpg":  # it knows no sslmode
        url = url.difference_update_query(["sslmode"])
    engine = create_async_engine(url, **options)
    try:
        yield engine
    finally:
        await engine.dispose()


def _url_of(config: DatabaseConfiguration, driver: str) -> URL:
    """As people write it: without what a queuer adds for its own connections."""
    return config.url.set(drivername=f"postgresql+{driver}").difference_update_query(["target_session_attrs"])
