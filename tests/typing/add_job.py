"""What a type checker makes of the public API. Checked by `tests/checks/static_types.py`, never run.

A line that ends in a comment `E:` is a mistake: mypy must report one there, with that text in it, and none elsewhere.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, assert_type
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

import queuer
from queuer import Job, JobArchive, Options, Queuer


@dataclass
class Order:
    id: UUID
    total: Decimal


def greet(name: str, *, times: int = 1) -> str:
    return name * times


async def ship(order: Order, at: datetime | None = None) -> Order:
    return order


class OwnSession(Session):
    """As libraries derive one."""


def charge(session: Session, order: int, *, note: str = "") -> None: ...


async def charge_async(session: AsyncSession, order: int) -> None: ...


def charge_own(session: OwnSession, order: int) -> None: ...


def anything(*parameters: int, **keyed: str) -> None: ...


def adding(q: Queuer, order: Order) -> None:
    assert_type(q.add_job(greet, "you", times=2), Job)
    q.add_job(greet)  # E: No overload variant
    q.add_job(greet, 5)  # E: No overload variant
    q.add_job(greet, "you", 2)  # E: No overload variant
    q.add_job(greet, "you", time=2)  # E: Unexpected keyword argument "time"
    q.add_job(greet, "you", times="2")  # E: incompatible type "str"; expected "int"
    q.add_job(5, "you")  # E: No overload variant

    q.add_job(ship, order, at=datetime.now(UTC))
    q.add_job(ship, order, None)
    q.add_job(ship, {"id": "…", "total": "1.10"})  # E: No overload variant
    q.add_job(ship, order, at="tomorrow")  # E: incompatible type "str"; expected "datetime | None"

    assert_type(q.add_job(charge, 17, note="gift"), Job)  # the session is the worker's to give
    q.add_job(charge_async, 17)
    q.add_job(charge_own, 17)
    q.add_job(charge)  # E: No overload variant
    q.add_job(charge_async, "17")  # E: No overload variant

    q.add_job(anything, 1, 2, a="b")
    q.add_job(anything, 1, "2")  # E: No overload variant
    q.add_job(anything, a=2)  # E: No overload variant

    # Whose task a name is nobody can tell here.
    q.add_job("greet", 5, anything=order)


def adding_with_options(q: Queuer, order: Order) -> None:
    assert_type(q.add_job_with_options(Options(), ship, order), Job)
    q.add_job_with_options(None, "ship", 5)
    q.add_job_with_options(Options(), ship)  # E: No overload variant
    q.add_job_with_options(ship, order)  # E: No overload variant
    q.add_job_with_options({"metadata": {}}, ship, order)  # E: No overload variant


def decorating(q: Queuer) -> None:
    @q.task
    def plain(a: int) -> str:
        return str(a)

    @q.task(name="other")
    def named(a: int) -> str:
        return str(a)

    @queuer.task
    async def everywhere(a: int) -> str:
        return str(a)

    @q.task_with_name("last")
    def last(a: int) -> str:
        return str(a)

    assert_type(plain(1), str)
    assert_type(named(1), str)
    assert_type(last(1), str)
    plain("1")  # E: has incompatible type "str"; expected "int"
    q.add_job(plain, 1)
    q.add_job(everywhere, 1)
    q.add_job(named, "1")  # E: No overload variant
    q.add_job(everywhere, "1")  # E: No overload variant
    q.add_job(last, b=1)  # E: No overload variant


def reading(q: Queuer, job: Job) -> None:
    assert_type(q.wait_for_job_finished(job.rid), JobArchive | None)
    assert_type(q.get_job_ended(str(job.rid)).result, Any)
    q.wait_for_job_finished(job)  # E: incompatible type "Job"; expected "UUID | str"


async def in_the_callers_transaction(q: Queuer, session: Session, async_session: AsyncSession) -> None:
    assert_type(q.in_session(session).add_job(charge, 17), Job)
    assert_type(await q.in_session(async_session).add_job(greet, "you"), Job)
    q.in_session(session).add_job(greet, 5)  # E: No overload variant
    q.in_session("session")  # E: No overload variant
