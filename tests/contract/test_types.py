"""The contract's types: parameters and results beyond JSON's own, on the public API alone. See docs/types.md."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from queuer import BatchJob, InvalidParameters, JobArchive, JobStatus, OnError, Options, Queuer, current_job


class Colour(Enum):
    RED = "red"


@dataclass
class Line:
    price: Decimal
    colour: Colour = Colour.RED


@dataclass
class Order:
    id: UUID
    placed: datetime
    lines: list[Line] = field(default_factory=list)
    weight: float = 1.0


class Customer(BaseModel):
    id: UUID
    born: date | None = None


ORDER = Order(UUID(int=1), datetime(2026, 1, 2, tzinfo=UTC), [Line(Decimal("1.10"))], 2.0)
CUSTOMER = Customer(id=UUID(int=2), born=date(2000, 1, 2))
WRITTEN = {
    "id": str(UUID(int=1)),
    "placed": "2026-01-02T00:00:00Z",
    "lines": [{"price": "1.10", "colour": "red"}],
    "weight": 2.0,
}

KINDS: list[tuple[Any, Any]] = [
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6)),
    (date, date(2026, 1, 2)),
    (time, time(3, 4)),
    (timedelta, timedelta(hours=30)),
    (UUID, UUID(int=3)),
    (Decimal, Decimal("1.10")),
    (Colour, Colour.RED),
    (Order, ORDER),
    (Customer, CUSTOMER),
    (float, 2.0),
    (list[Order], [ORDER]),
    (dict[str, list[Customer]], {"a": [CUSTOMER]}),
    (tuple[int, date], (1, date(2026, 1, 2))),
    (Order | None, ORDER),
    (Customer | None, None),
]


def typed(annotation: Any, *, is_async: bool) -> Callable[..., Any]:
    """A task that wants one type everywhere, and returns what it was given together with what those are."""

    def task(one: Any, *rest: Any, keyed: Any, **more: Any) -> Any:
        assert current_job()
        return seen.setdefault(current_job().rid, (one, *rest, keyed, *more.values()))[0]

    async def task_async(one: Any, *rest: Any, keyed: Any, **more: Any) -> Any:
        await asyncio.sleep(0)
        return task(one, *rest, keyed=keyed, **more)

    fn = task_async if is_async else task
    fn.__annotations__ = dict.fromkeys(("one", "rest", "keyed", "more", "return"), annotation)
    return fn


seen: dict[UUID, tuple[Any, ...]] = {}


def ended(q: Queuer, rid: UUID) -> JobArchive:
    found = q.wait_for_job_finished(rid, timeout_seconds=10)
    assert found is not None
    return found


@pytest.mark.parametrize("is_async", [False, True])
def test_parameters_and_results_are_what_the_annotations_say(q: Queuer, is_async: bool) -> None:
    with q:
        for number, (annotation, value) in enumerate(KINDS):
            q.add_task_with_name(typed(annotation, is_async=is_async), f"task {number}")
            job = q.add_job(f"task {number}", value, value, keyed=value, other=value)
            done = ended(q, job.rid)
            assert done.error is None
            assert seen[job.rid] == (value,) * 4
            assert {type(argument) for argument in seen[job.rid]} == {type(value)}
            assert (done.result, type(done.result)) == (value, type(value))
            assert q.get_job_ended(job.rid).result == value


def test_rows_hold_plain_json(q: Queuer, engine: Engine) -> None:
    q.add_task_with_name(typed(Order, is_async=False), "task")
    job = q.add_job("task", ORDER, keyed=ORDER)
    assert (job.parameters, job.parameters_keyed) == ([WRITTEN], {"keyed": WRITTEN})
    with q:
        done = ended(q, job.rid)
    assert (done.parameters, done.results) == ([WRITTEN], [WRITTEN])
    with Session(engine) as session:
        assert session.scalars(select(JobArchive)).one().result == WRITTEN
    assert [found.result for found in q.get_jobs_ended()] == [ORDER]


def test_batches_and_names_of_other_processes_take_the_same_values(make_queuer: Any) -> None:
    client, worker = make_queuer(), make_queuer()
    worker.add_task_with_name(typed(Customer, is_async=False), "task")
    rid = client.add_jobs([BatchJob("task", [CUSTOMER], {"keyed": CUSTOMER})])[0]
    assert client.get_job(rid).parameters == [{"id": str(UUID(int=2)), "born": "2000-01-02"}]
    with worker:
        done = ended(client, rid)
    assert seen[rid] == (CUSTOMER, CUSTOMER)
    assert done.result == {"id": str(UUID(int=2)), "born": "2000-01-02"}  # who does not know the task gets JSON
    assert worker.get_job_ended(rid).result == CUSTOMER


def test_without_annotations_a_task_gets_json(q: Queuer) -> None:
    q.add_task_with_name(lambda *values: list(values), "task")
    with q:
        done = ended(q, q.add_job("task", ORDER, date(2026, 1, 2), {"a": (Colour.RED,)}).rid)
    assert done.result == [WRITTEN, "2026-01-02", {"a": ["red"]}]


def test_any_language_may_write_the_json_form(q: Queuer, engine: Engine) -> None:
    @q.task
    def total(lines: list[Line], tax: Decimal = Decimal(0)) -> Decimal:
        return sum((line.price for line in lines), tax)

    with q:
        with engine.begin() as connection:
            insert = (
                "INSERT INTO job (task_name, parameters) VALUES ('total', '[[{\"price\": \"1.10\"}], 2]') RETURNING rid"
            )
            rid = connection.scalar(text(insert))
        assert ended(q, rid).result == Decimal("3.10")


def test_metadata_holds_plain_json_alone(q: Queuer) -> None:
    with pytest.raises(InvalidParameters, match=r"metadata\['at'\] is of type date, .* list, tuple and dict$"):
        q.add_job_with_options(Options(metadata={"at": date(2026, 1, 2)}), "task")


def test_a_job_whose_arguments_could_not_be_read_is_refused_at_once(q: Queuer) -> None:
    @q.task
    def ship(order: Order, to: Customer | None = None) -> None: ...

    says = r"task 'ship' takes order as .*Order and can't read 'cat' as one: Expected `object`, got `str`; give it"
    with pytest.raises(TypeError, match=says):
        q.add_job("ship", "cat")
    with pytest.raises(InvalidParameters, match=r"takes to as .*Customer.* and can't .*: id: Field required"):
        q.add_job("ship", ORDER, to={})
    with pytest.raises(InvalidParameters, match="takes order as") as caught:
        q.add_jobs([BatchJob(ship, [ORDER]), BatchJob(ship, [5])])
    assert caught.value.__notes__ == ["in item 1 of the batch; none of its jobs was added"]
    with pytest.raises(InvalidParameters, match=r"parameters\[0\]\['lines'\]\[0\]\['price'\] is nan"):
        q.add_job("ship", Order(UUID(int=1), datetime(2026, 1, 2), [Line(float("nan"))]))
    assert q.get_jobs() == []


@pytest.mark.parametrize("is_async", [False, True])
def test_a_row_that_can_not_be_read_fails_for_good_and_the_worker_goes_on(make_queuer: Any, is_async: bool) -> None:
    client, worker = make_queuer(), make_queuer(OnError(max_retries=3))
    worker.add_task_with_name(typed(date, is_async=is_async), "task")
    with worker:
        broken = ended(client, client.add_job("task", "soon", keyed="2026-01-02").rid)
        fine = ended(client, client.add_job("task", "2026-01-02", keyed="2026-01-02").rid)
    assert (broken.status, broken.attempts, fine.status) == (JobStatus.FAILED, 1, JobStatus.SUCCEEDED)
    assert broken.error == (
        "InvalidParameters: task 'task' takes one as datetime.date and can't read 'soon' as one:"
        " Invalid RFC3339 encoded date; give it a value of that type, or change the annotation"
    )
    assert [failure["type"] for failure in broken.failures] == ["InvalidParameters"]


def test_what_reads_an_argument_runs_inside_the_job(make_queuer: Any) -> None:
    rids: list[UUID] = []

    @dataclass
    class Nosy:
        it: int

        def __post_init__(self) -> None:
            rids.append(current_job().rid)

    client, worker = make_queuer(), make_queuer()

    @worker.task
    def task(nosy: Nosy) -> int:
        return nosy.it

    with worker:
        done = ended(client, client.add_job("task", {"it": 5}).rid)
    assert (done.result, rids) == (5, [done.rid])


def test_a_result_that_its_annotation_does_not_fit_reads_as_json(q: Queuer) -> None:
    @q.task
    def late() -> date:
        return "soon"  # type: ignore[return-value]

    with q:
        done = ended(q, q.add_job(late).rid)
    assert (done.status, done.result) == (JobStatus.SUCCEEDED, "soon")


def test_a_result_that_json_can_not_hold_fails_the_job_with_its_path(q: Queuer) -> None:
    @q.task
    def price() -> Line:
        return Line(float("nan"))  # type: ignore[arg-type]

    with q:
        done = ended(q, q.add_job(price).rid)
    assert done.error == "InvalidParameters: results[0]['price'] is nan; JSON allows finite numbers only, or null"
    assert done.result is None


def test_an_ended_job_with_its_result_can_be_pickled(q: Queuer) -> None:
    @q.task
    def order() -> Order:
        return ORDER

    with q:
        done = ended(q, q.add_job(order).rid)
    assert pickle.loads(pickle.dumps(done)).result == ORDER


def test_pydantic_is_left_alone_by_who_does_not_use_it() -> None:
    use = """
import sys, datetime, queuer
from queuer.payload import encode
from queuer.tasks import Task
def fn(a: datetime.date, b: queuer.Queuer) -> datetime.date: ...
task = Task("fn", fn)
assert task.arguments.read([encode("2026-01-02", "p")[1:-1], 5], {})[0] == [datetime.date(2026, 1, 2), 5]
try:
    encode(object(), "p")
except queuer.InvalidParameters:
    assert "pydantic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", use], check=True)
