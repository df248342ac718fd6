"""The parameter through which a task gets its session: which one it is, and what callers give."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from support.applications import engine_of
from support.contract import ended

from queuer import DatabaseConfiguration, InvalidParameters, JobStatus, Queuer, new_queuer_with_engine


def buy(session: Session, item: str) -> str:
    return f"bought {item}"


def test_callers_give_all_but_the_session(q: Queuer) -> None:
    q.add_task(buy)
    assert q.add_job(buy, "tea").parameters == ["tea"]
    for parameters, keyed in [((), {}), (("tea", "milk"), {}), (("tea",), {"session": None})]:
        with pytest.raises(InvalidParameters, match=r"task 'buy' takes \(item: str\)"):
            q.add_job(buy, *parameters, **keyed)  # type: ignore[call-overload]


class Special(Session):
    """What a library like SQLModel makes of it."""


def test_the_session_is_of_the_class_that_is_annotated_and_stands_where_it_stands(q: Queuer) -> None:
    def second(a: int, session: Annotated[Special, "a dependency elsewhere"], b: int = 0) -> list[Any]:
        return [a, type(session).__name__, b]

    def by_name(*numbers: int, session: Session, **more: int) -> list[Any]:
        return [*numbers, type(session).__name__, more]

    q.add_task(second)
    q.add_task(by_name)
    q.start()
    assert ended(q, q.add_job("second", 1, 2)).result == [1, "Special", 2]
    assert ended(q, q.add_job("second", b=2, a=1)).result == [1, "Special", 2]
    assert ended(q, q.add_job("by_name", 1, 2, x=3)).result == [1, 2, "Session", {"x": 3}]


def _two(a: Session, b: Session) -> None: ...
def _mixed(session: AsyncSession) -> None: ...
async def _mixed_async(session: Session) -> None: ...
def _unresolved(session: "Nowhere.Session") -> None: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (_two, "has 2 parameters for a session; allowed is one"),
        (_mixed, "is a plain function; annotate session as Session"),
        (_mixed_async, "is a coroutine function; annotate session as AsyncSession"),
        (_unresolved, "annotates session as Nowhere.Session, which can't be found .* import it outside of"),
    ],
)
def test_a_task_whose_session_makes_no_sense_is_refused(q: Queuer, task: Callable[..., Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        q.add_task(task)


def test_no_other_process_can_have_the_session(q: Queuer) -> None:
    with pytest.raises(ValueError, match="takes a session, which no other process can have"):
        q.add_task(buy, executor="process")


def test_a_parameter_called_session_without_the_annotation_is_the_callers(q: Queuer) -> None:
    q.add_task_with_name(lambda session: session, "plain")
    q.start()
    assert ended(q, q.add_job("plain", session=7)).result == 7


class Tenants(Session):
    """One that takes more than the worker knows of."""

    def __init__(self, tenant: str, **options: Any) -> None:
        super().__init__(**options)


def test_a_class_that_can_not_be_made_fails_the_job_and_keeps_no_connection(config: DatabaseConfiguration) -> None:
    def of_tenant(session: Tenants) -> None: ...

    engine = engine_of(config, pool_size=3, max_overflow=0, pool_timeout=1)
    q = new_queuer_with_engine("test", 4, engine)
    q.add_task(of_tenant)
    q.add_task(buy)
    with q:
        for _ in range(5):
            failed = ended(q, q.add_job(of_tenant))
            assert (failed.status, (failed.error or "").partition(":")[0]) == (JobStatus.FAILED, "TypeError")
        assert ended(q, q.add_job(buy, "tea")).result == "bought tea"
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    engine.dispose()
