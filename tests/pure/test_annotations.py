import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr

from queuer import InvalidParameters
from queuer.annotations import reader
from queuer.payload import encode

T = TypeVar("T")
Limited = TypeVar("Limited", int, str)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Size(StrEnum):
    SMALL = "s"


class Mode(Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True)
class Price:
    amount: Decimal
    colour: Colour = Colour.RED
    _note: str = ""
    places: list[date] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    id: UUID
    placed: datetime
    prices: dict[str, Price]
    parent: "Order | None" = None


class Item(BaseModel):
    id: UUID
    at: time
    price: Price
    tags: set[str] = set()


class Point(NamedTuple):
    x: float
    when: date


class Row(TypedDict, total=False):
    day: date


class Pair(TypedDict):
    a: int
    b: list[str]


def through_json(value: object, annotation: Any) -> Any:
    (raw,) = json.loads(encode([value], "results"))
    found = reader(annotation)
    assert found is not None
    return found.read(raw)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
decimals = st.decimals(allow_nan=False)
dates = st.dates()
# The offset of an instant may turn it into one before the first year or behind the last.
instants = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones(), allow_imaginary=False)
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
colours = st.sampled_from(Colour)
prices = st.builds(Price, decimals, colours, texts, st.lists(dates, max_size=3))
orders = st.builds(
    Order,
    id=st.uuids(),
    placed=st.datetimes(),
    prices=st.dictionaries(texts, prices, max_size=3),
    parent=st.none() | st.builds(Order, id=st.uuids(), placed=st.datetimes(), prices=st.just({})),
)
finite_prices = st.builds(Price, st.decimals(allow_nan=False, allow_infinity=False))  # pydantic wants them finite
items = st.builds(
    Item, id=st.uuids(), at=st.times(timezones=st.none() | offsets), price=finite_prices, tags=st.sets(texts)
)

PAIRS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (datetime, st.datetimes()),
    (date, dates),
    (time, st.times(timezones=st.none() | offsets)),
    (timedelta, st.timedeltas()),
    (UUID, st.uuids()),
    (Decimal, decimals),
    (Colour, colours),
    (Level, st.sampled_from(Level)),
    (Size, st.sampled_from(Size)),
    (Mode, st.sampled_from([Mode.READ, Mode.READ | Mode.WRITE])),
    (Price, prices),
    (Order, orders),
    (Item, items),
    (Point, st.builds(Point, st.floats(allow_nan=False, allow_infinity=False), dates)),
    (Row, st.just(Row()) | st.builds(Row, day=dates)),
]


@pytest.mark.parametrize(("annotation", "values"), PAIRS, ids=[kind.__name__ for kind, _ in PAIRS])
@given(data=st.data())
def test_every_type_reads_back_equal_also_inside_lists_and_dicts(
    annotation: Any, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    value = data.draw(values)
    read = through_json(value, annotation)
    assert read == value
    assert type(read) is type(value)
    assert through_json([value], list[annotation]) == [value]
    assert through_json({"a": {"b": [value, None]}}, dict[str, dict[str, list[annotation | None]]]) == {
        "a": {"b": [value, None]}
    }
    assert through_json((value, 1), tuple[annotation, int]) == (value, 1)


@given(instants)
def test_an_instant_of_any_time_zone_reads_back_as_the_same_instant(instant: datetime) -> None:
    assert through_json(instant, datetime).astimezone(UTC) == instant.astimezone(UTC)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_a_float_reads_back_as_a_float_though_jsonb_makes_whole_ones_ints(numbers: list[float]) -> None:
    found = reader(list[float])
    assert found is not None
    from_jsonb = [int(number) if number.is_integer() else number for number in numbers]
    assert [(type(read), read) for read in found.read(from_jsonb)] == [(float, number) for number in numbers]


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (float, 2, "2.0"),
        (float | None, None, "None"),
        (dict[str, float], {"a": 1}, "{'a': 1.0}"),
        (dict[str, list[float | str]], {"a": [1, "x"]}, "{'a': [1.0, 'x']}"),
        (int | float, 2, "2"),
        (float, "what", "'what'"),
        (float, True, "True"),
        (list[float], [1, None], "[1, None]"),
        (float, 10**400, repr(10**400)),
    ],
)
def test_float_is_a_hint_and_no_check(annotation: Any, value: object, read: str) -> None:
    found = reader(annotation)
    assert found is not None
    assert repr(found.read(value)) == read


@pytest.mark.parametrize(
    "annotation",
    [
        *(bool, int, str, None, list, dict, list[int], dict[str, list[int | None]], int | str, Any, object),
        *(list[object], dict[str, object], Mapping[str, Any], Sequence[str], Collection[int]),
        *(Literal["a", 1], Annotated[int, "of something"], Annotated[str, Meta(title="a")], Pair, T, list[T]),
    ],
)
def test_what_is_made_of_jsons_own_types_is_left_alone(annotation: Any) -> None:
    assert reader(annotation) is None


class Custom: ...


@dataclass
class Holder:
    custom: Custom
    day: date


@pytest.mark.parametrize(
    "annotation",
    [
        *(Custom, Custom | None, list[Custom], Holder, Callable, Callable[[int], int], type, Iterable[date], Path),
        *(complex, Limited, Item | Price, datetime | str, Item | str, "Unresolved", 5, Enum),
    ],
)
def test_what_msgspec_does_not_know_is_left_alone(annotation: Any) -> None:
    assert reader(annotation) is None


@pytest.mark.parametrize(
    ("annotation", "value", "read"),
    [
        (dict[int, date], {"1": "2026-01-02"}, {1: date(2026, 1, 2)}),
        (dict[UUID, int], {str(UUID(int=1)): 2}, {UUID(int=1): 2}),
        (set[date], ["2026-01-02"], {date(2026, 1, 2)}),
        (Decimal, 1.5, Decimal("1.5")),
        (Decimal | None, None, None),
        (bytes, "eA==", b"x"),
    ],
)
def test_what_other_programs_write_is_read_as_well(annotation: Any, value: object, read: object) -> None:
    found = reader(annotation)
    assert found is not None
    assert found.read(value) == read


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    day: date = Field(alias="tag")
    one: UUID = Field(serialization_alias="eins")
    two: Decimal = Field(validation_alias="zwei")


class Days(RootModel[list[date]]): ...


def test_a_strict_model_with_aliases_reads_back() -> None:
    model = Strict.model_validate({"tag": date(2026, 1, 2), "one": UUID(int=1), "zwei": Decimal("1.10")})
    assert through_json(model, Strict) == model
    assert json.loads(encode(model, "p")) == {"day": "2026-01-02", "one": str(UUID(int=1)), "two": "1.10"}
    found = reader(Strict)
    assert found is not None
    assert found.read({"tag": "2026-01-02", "one": str(UUID(int=1)), "zwei": "1.10"}) == model
    assert through_json(Days([date(2026, 1, 2)]), Days) == Days([date(2026, 1, 2)])


class Login(BaseModel):
    password: SecretStr


def test_a_secret_that_pydantic_would_hide_is_refused() -> None:
    with pytest.raises(InvalidParameters, match=r"p\[0\] is of type Login and can't be written: pydantic hides its se"):
        encode([Login(password=SecretStr("x"))], "p")
