"""The shop's database, which also is the queue's."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

from queuer import default_configuration

# That of the QUEUER_DB_* variables, else the PostgreSQL that comes with queuer[embedded]. Yours is in your settings.
engine = create_async_engine(default_configuration().url)
new_session = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    pass


async def create_tables() -> None:
    """What Alembic would do. Any number of processes may begin with it at once."""
    async with engine.begin() as connection:
        await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('shop tables'))"))
        await connection.run_sync(Base.metadata.create_all)


async def session_of_request() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


#: A session for one request. The endpoint commits, so that what fails at the commit still becomes its answer.
Session = Annotated[AsyncSession, Depends(session_of_request)]
