"""The tasks. Each writes into the journal when it begins and when it ends, and returns its token."""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from chaos.journal import Journal
from queuer import Queuer, current_job

#: Environment variable that names the directory of the journals; child processes of a worker inherit it.
DIRECTORY = "QUEUER_CHAOS_DIRECTORY"


@cache
def _journal() -> Journal:
    return Journal(Path(os.environ[DIRECTORY]), "tasks")


@contextmanager
def _journaled(token: str) -> Iterator[int]:
    job = current_job()
    entry: dict[str, Any] = {"rid": str(job.rid), "attempt": job.attempt, "token": token}
    how = "returned"
    _journal().write("begun", **entry)
    try:
        yield job.attempt
    except BaseException as error:
        how = type(error).__name__
        raise
    finally:
        _journal().write("ended", how=how, **entry)


def _nap(seconds: float) -> None:
    """Sleeps in pieces, between which an interrupt gets through."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)


def quick(token: str) -> str:
    with _journaled(token):
        return token


async def quick_async(token: str) -> str:
    with _journaled(token):
        return token


def steady(token: str, seconds: float) -> str:
    with _journaled(token):
        _nap(seconds)
    return token


async def steady_async(token: str, seconds: float) -> str:
    with _journaled(token):
        await asyncio.sleep(seconds)
    return token


def flaky(token: str, failures: int) -> str:
    with _journaled(token) as attempt:
        if attempt <= failures:
            raise ValueError(f"attempt {attempt} of {token} fails")
    return token


def doomed(token: str) -> str:
    with _journaled(token):
        raise ValueError(f"{token} fails")


_ENTER = text("INSERT INTO ledger (token) VALUES (:token)")


def enter(session: Session, token: str, seconds: float) -> str:
    """What it writes and the end of its job are one transaction."""
    with _journaled(token):
        session.execute(_ENTER, {"token": token})
        _nap(seconds)
    return token


async def enter_async(session: AsyncSession, token: str, seconds: float) -> str:
    with _journaled(token):
        await session.execute(_ENTER, {"token": token})
        await asyncio.sleep(seconds)
    return token


def in_process(token: str, seconds: float) -> str:
    with _journaled(token):
        _nap(seconds)
    return token


def a_second_later(scheduled_at: datetime, _count: int) -> datetime:
    return scheduled_at + timedelta(seconds=1)


def register(q: Queuer) -> None:
    """Makes a worker of all tasks."""
    for fn in (quick, quick_async, steady, steady_async, flaky, doomed, enter, enter_async):
        q.add_task(fn)
    q.task(in_process, executor="process")
    q.add_next_interval_func(a_second_later)
