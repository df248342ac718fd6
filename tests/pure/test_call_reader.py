"""How a task sees its arguments."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Optional, TypedDict
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, RootModel

from queuer import InvalidParameters
from queuer.tasks import Task


class Colour(Enum):
    RED = "red"


@dataclass
class Price:
    amount: Decimal
    colour: Colour = Colour.RED


class Pair(TypedDict):
    a: int


class Days(RootModel[list[date]]): ...


def task(fn: Callable[..., Any]) -> Task:
    return Task("task", fn)


def arguments(fn: Callable[..., Any], *parameters: Any, **keyed: Any) -> Any:
    call = task(fn).arguments
    assert call is not None
    read, read_keyed = call.read(parameters, keyed)
    return *read, dict(read_keyed)


DAY, TEXT = date(2026, 1, 2), "2026-01-02"


def test_each_parameter_is_read_by_its_own_annotation_wherever_it_is_given() -> None:
    def fn(a: date, b: str, /, c: date, *rest: date, d: date, e, **more: date) -> None: ...  # type: ignore[no-untyped-def]

    assert arguments(fn, TEXT, TEXT, TEXT, TEXT, d=TEXT, e=TEXT, f=TEXT, a=TEXT) == (
        *(DAY, TEXT, DAY, DAY),
        {"d": DAY, "e": TEXT, "f": DAY, "a": DAY},
    )
    assert arguments(fn, TEXT, TEXT, c=TEXT) == (DAY, TEXT, {"c": DAY})


def test_arguments_that_no_parameter_takes_are_left_to_the_call() -> None:
    def fn(a: date) -> None: ...

    assert arguments(fn, TEXT, TEXT, b=TEXT) == (DAY, TEXT, {"b": TEXT})


def test_a_default_of_none_allows_none() -> None:
    def fn(a: date = None, b: Optional[date] = DAY) -> None: ...  # type: ignore[assignment]  # noqa: RUF013, UP045

    assert arguments(fn, None, None) == (None, None, {})


def test_methods_partials_classes_and_wrapped_functions_have_annotations_too() -> None:
    class Shop:
        def __init__(self, day: date = DAY) -> None: ...

        def method(self, day: date) -> date:
            return day

        async def __call__(self, day: date) -> date:
            return day

    @functools.wraps(Shop.method)
    def wrapper(*args: Any) -> None: ...

    for fn in (Shop().method, Shop(), Shop, functools.partial(wrapper, Shop()), functools.lru_cache(Shop().method)):
        assert arguments(fn, TEXT) == (DAY, {})
    assert arguments(functools.partial(Shop.method, day=DAY), day=TEXT) == ({"day": DAY},)


def test_an_annotation_that_can_not_be_resolved_does_not_hide_the_others() -> None:
    def fn(a: "Unheard", b: "date") -> "Unheard": ...  # type: ignore[name-defined]  # noqa: F821

    assert arguments(fn, TEXT, TEXT) == (TEXT, DAY, {})
    assert task(fn).result is None


@pytest.mark.parametrize("fn", [lambda a: a, print, str, functools.partial(print), Pair])
def test_a_task_that_has_nothing_to_convert_has_no_readers(fn: Callable[..., Any]) -> None:
    assert (task(fn).arguments, task(fn).result) == (None, None)


class Agreeing:
    """Has every attribute that it is asked for."""

    def __call__(self, day: date) -> None: ...

    def __getattr__(self, name: str) -> "Agreeing":
        return self


def test_a_callable_that_has_every_attribute_does_no_harm() -> None:
    assert task(Agreeing()).arguments is None


@dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number == 0:
            raise KeyError("zero")
        if self.number < 0:
            raise ValueError("it is negative")


class Adult(BaseModel):
    age: int = Field(ge=18)


@pytest.mark.parametrize(
    ("annotation", "value", "says"),
    [
        (
            date,
            "soon",
            r"task 'task' takes it as datetime.date and can't read 'soon' as one: Invalid RFC3339.*; give it",
        ),
        (
            list[UUID],
            ["x"],
            r"takes it as list\[uuid.UUID\] and can't read \['x'\] as one: Invalid UUID - at `\$\[0\]`",
        ),
        (Colour, "green", r"as .*Colour and can't read 'green' as one: Invalid enum value 'green'"),
        (Price, {"colour": "red"}, r"can't read \{'colour': 'red'\} as one: Object missing required field `amount`"),
        (Positive, {"number": -1}, "as one: it is negative; give"),
        (Positive, {"number": 0}, "as one: KeyError: 'zero'; give"),
        (Adult, {"age": 5}, "as one: age: Input should be greater than or equal to 18; give"),
        (list[Adult], [{}], r"as one: age: Field required - at `\$\[0\]`; give"),
        (Days, 5, "as one: Input should be a valid"),
        (datetime, "x" * 1000, r"can't read 'x{12}\.{3}x{13}' as one"),
    ],
)
def test_an_error_names_task_parameter_and_reason(annotation: Any, value: object, says: str) -> None:
    def fn(it: Any, /, *others: Any, **named: Any) -> None: ...

    fn.__annotations__ = dict.fromkeys(("it", "others", "named"), annotation)
    with pytest.raises(InvalidParameters, match=says):
        arguments(fn, value)
    with pytest.raises(InvalidParameters, match=says.replace("takes it", r"takes \*others")):
        arguments(fn, through(annotation), value)
    with pytest.raises(InvalidParameters, match=says.replace("takes it", "takes other")):
        arguments(fn, through(annotation), other=value)


def through(annotation: Any) -> object:
    """JSON that reads as this annotation."""
    fit = {date: TEXT, Colour: "red", Price: {"amount": "1"}, Positive: {"number": 1}, Adult: {"age": 18}, Days: []}
    return {**fit, datetime: f"{TEXT}T00:00:00"}.get(annotation, [])
