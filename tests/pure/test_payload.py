import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from queuer import InvalidParameters
from queuer.payload import call_arguments, checked, encode, json_value, read, readable

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)


@given(values)
def test_what_json_can_hold_reads_back_equal(value: object) -> None:
    assert json.loads(encode(value, "results")) == value


@given(values)
def test_it_is_read_as_python_does(value: object) -> None:
    text = json.dumps(value)
    assert repr(read(text)) == repr(json.loads(text))  # 1 and 1.0 and True are equal


@pytest.mark.parametrize(
    "text", ["1e400", "-1e400", "1e-400", "9" * 400, "-0.0", "123456789.123456789012345678", "1E5"]
)
def test_numbers_of_another_program_are_read_as_python_does(text: str) -> None:
    assert repr(read(f"[{text}]")) == repr(json.loads(f"[{text}]"))


@pytest.mark.parametrize(("text", "says"), [("9" * 5000, "4300 digits"), ("[1", "delimiter"), ("", "Expecting value")])
def test_what_python_does_not_read_is_a_value_error(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read(text)


def test_a_tuple_becomes_a_list() -> None:
    assert encode((1, (2,)), "results") == "[1,[2]]"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({1, 2}, r"p is of type set, which JSON can't hold; a set has no JSON form: pass a list"),
        ([b"x"], r"p\[0\] is of type bytes.*base64"),
        ({"a": [0, object()]}, r"p\['a'\]\[1\] is of type object"),
        ({"a": float("nan")}, r"p\['a'\] is nan; JSON allows finite numbers"),
        ([float("-inf")], r"p\[0\] is -inf"),
        ("a\0b", r"p has a NUL character"),
        (["ok", "\ud800"], r"p\[1\] has the lone surrogate \\ud800"),
        ({"k\0": 1}, r"the key 'k\\x00' in p has a NUL"),
        ({1: "a"}, r"p has a key of type int; JSON allows keys of type str only: write str\(key\)"),
        (1 + 2j, r"p is of type complex"),
    ],
)
def test_what_jsonb_refuses_is_refused_with_its_path(value: object, says: str) -> None:
    with pytest.raises(InvalidParameters, match=says):
        checked(value, "p")


class Colour(Enum):
    RED = "red"
    WHEN = date(2026, 1, 2)


class Level(IntEnum):
    LOW = 1


class Size(StrEnum):
    SMALL = "s"


@dataclass
class Box:
    it: Any


class Model(BaseModel):
    it: Any


class Weight(BaseModel):
    it: list[float]


class Fake(datetime): ...


class Span(timedelta): ...


class Money(Decimal): ...


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (datetime(2026, 1, 2, tzinfo=BERLIN), "2026-01-02T00:00:00+01:00"),
        (datetime(1880, 1, 2, tzinfo=BERLIN), "1880-01-01T23:06:32Z"),  # 53 minutes and 28 seconds
        (Fake(2026, 1, 2), "2026-01-02T00:00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4, tzinfo=UTC), "03:04:00Z"),
        (timedelta(days=1, seconds=2, microseconds=3), "P1DT2.000003S"),
        (Span(-1), "-P1D"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (Money("1.10"), "1.10"),
        (Colour.RED, "red"),
        (Colour.WHEN, "2026-01-02"),
        (Level.LOW, 1),
        (Size.SMALL, "s"),
        (Box(Box((date(2026, 1, 2), None))), {"it": {"it": ["2026-01-02", None]}}),
        (Model(it=UUID(int=1)), {"it": "00000000-0000-0000-0000-000000000001"}),
        (Box(Model(it=[Box(1)])), {"it": {"it": [{"it": 1}]}}),
    ],
)
def test_rich_types_have_a_json_form_wherever_they_are(value: object, written: object) -> None:
    assert json_value(value, "p") == written
    assert json.loads(encode([{"a": value}], "p")) == [{"a": written}]


def test_what_is_given_is_never_changed() -> None:
    given = {"a": [date(2026, 1, 2), {"b": UUID(int=1)}]}
    json_value(given, "p")
    assert given == {"a": [date(2026, 1, 2), {"b": UUID(int=1)}]}


class Broken(BaseModel):
    def model_dump(self, **_: Any) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Box(float("nan")), r"p\['it'\] is nan"),
        ([Weight(it=[float("nan")])], r"p\[0\]\['it'\]\[0\] is nan"),
        (Box({"a": b"x"}), r"p\['it'\]\['a'\] is of type bytes.*base64"),
        (Box({1}), r"p\['it'\] is of type set.*pass a list"),
        (Box({UUID(int=1): 1}), r"p\['it'\] has a key of type UUID; .* write str\(key\)"),
        (Box("\0"), r"p\['it'\] has a NUL"),
        (
            Box(object()),
            r"p\['it'\] is of type object, which JSON can't hold; allowed are None, bool, .*, and datetime,",
        ),
        (Box, r"p is of type type, which JSON can't hold; .* dataclasses and pydantic models"),
        (time(1, tzinfo=BERLIN), "p is of type time and can't be written: its time zone has no fixed offset"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(seconds=1))), "p is of type datetime and can't be written: Overf"),
        (Model(it=b"\xff"), "p is of type Model and can't be written: .*utf-8"),
        (Broken(), "p is of type Broken and can't be written: RuntimeError: no"),
    ],
)
def test_what_a_rich_value_may_not_hold_is_refused_with_its_path(value: object, says: str) -> None:
    with pytest.raises(InvalidParameters, match=says):
        encode(value, "p")


class Unbound:
    """A proxy that stands for nothing yet, as those of web frameworks do outside a request."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("outside of a request")


class Proxy:
    """One that stands for a text."""

    __class__ = str  # type: ignore[assignment]


class Sly(str):
    """A text that hides what is in it."""

    __slots__ = ()

    def __contains__(self, _key: object) -> bool:
        return False


class Endless(Enum):
    IT = 1

    @property
    def value(self) -> Any:
        return self


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([Unbound()], "p can't be read: RuntimeError: outside of a request; pass plain values"),
        ([Proxy()], "p can't be read: TypeError: .*; pass plain values"),
        ([Sly("\0")], r"p\[0\] has a NUL"),
        ({Sly("\0"): 1}, "has a NUL"),
        ([Endless.IT], "p can't be read: RecursionError"),
    ],
)
def test_what_is_not_what_it_seems_is_refused(value: object, says: str) -> None:
    for write in (json_value, checked):
        with pytest.raises(InvalidParameters, match=says if write is json_value else "."):
            write(value, "p")


@pytest.mark.parametrize("value", [date(2026, 1, 2), UUID(int=1), Colour.RED, Box(1), Model(it=1)])
def test_what_is_stored_as_it_is_may_not_hold_rich_values(value: object) -> None:
    with pytest.raises(InvalidParameters, match=rf"p\['a'\] is of type {type(value).__name__}.* list, tuple and dict$"):
        checked({"a": value}, "p")


def test_a_number_too_long_to_be_read_back_is_refused() -> None:
    checked(10**4299, "p")
    with pytest.raises(InvalidParameters, match="p has more than 4300 digits"):
        checked(10**4300, "p")


def test_what_contains_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    box = Box(None)
    box.it = box
    for value in (endless, box):
        with pytest.raises(InvalidParameters, match="nested deeper than 100 levels, or contains itself"):
            json_value(value, "p")


@given(st.text())
def test_readable_text_is_always_fit_for_postgresql(text: str) -> None:
    fit = readable(text)
    assert "\0" not in fit
    assert fit.encode().decode() == fit
    if re.fullmatch(r"[^\0\ud800-\udfff]*", text):
        assert fit == text


@pytest.mark.parametrize("parameters", [{}, "x", None, 5, True])
def test_parameters_of_another_program_must_be_an_array(parameters: object) -> None:
    with pytest.raises(InvalidParameters, match="parameters is .*; allowed is an array"):
        call_arguments(parameters, {})


@pytest.mark.parametrize("keyed", [[], "x", None, 5, True])
def test_keyed_parameters_of_another_program_must_be_an_object(keyed: object) -> None:
    with pytest.raises(InvalidParameters, match="parameters_keyed is .*; allowed is an object"):
        call_arguments([], keyed)
