"""Values that nobody should pass, and some do.

Hypothesis draws recipes, which it can show whatever the values themselves do; `make` makes the values.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from hypothesis import strategies as st


class Nasty(Exception):
    """What hostile values raise: no error that anybody documents."""


class NastyMapping(Mapping[str, Any]):
    """A mapping that can't be read."""

    def __getitem__(self, key: str) -> Any:
        raise Nasty

    def __iter__(self) -> Any:
        raise Nasty

    def __len__(self) -> int:
        return 1


class Itself(Enum):
    """An enum whose value is itself."""

    IT = 1

    @property
    def value(self) -> Any:
        return self


def _raise(*_args: Any, **_keyed: Any) -> Any:
    raise Nasty


_METHODS = (
    *("__str__", "__repr__", "__eq__", "__ne__", "__hash__", "__bool__", "__len__", "__iter__", "__contains__"),
    *("__getitem__", "__getattr__", "__lt__", "__le__", "__gt__", "__ge__", "__abs__", "__float__", "__int__"),
    *("__index__", "__format__", "__call__", "items", "keys", "isascii", "encode", "utcoffset", "astimezone"),
    *("isoformat", "__dataclass_fields__", "tzinfo", "value", "__class__", "__name__"),
)
_PROPERTIES = ("__class__", "tzinfo", "value", "__name__", "__dataclass_fields__")
_BASES: dict[str, tuple[type, tuple[Any, ...]]] = {
    kind.__name__: (kind, given)
    for kind, given in (
        *((object, ()), (str, ("text",)), (int, (5,)), (float, (0.5,)), (list, ([1],)), (dict, ({"a": 1},))),
        *((tuple, ((1,),)), (datetime, (2026, 1, 1)), (timedelta, (1,)), (Decimal, ("1.5",)), (UUID, ("0" * 32,))),
        *((NastyMapping, ()), (Exception, ("said",))),
    )
}


def _hostile(base: str, methods: tuple[str, ...]) -> Any:
    kind, given = _BASES[base]
    body = {name: property(_raise) if name in _PROPERTIES else _raise for name in methods}
    return type("Hostile", (kind,), body)(*given)


def _cycle(kind: str) -> Any:
    inside: list[Any] = []
    outside: Any = {"again": inside} if kind == "dict" else [inside]
    inside.append(outside)
    return outside


def _nested(kind: str, depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"in": value} if kind == "dict" else [value]
    return value


_NAMED: dict[str, Any] = {
    "nan": math.nan,
    "inf": math.inf,
    "enum": Itself.IT,
    "class": Itself,
    "object": object,
    "len": len,
    "print": print,
    "...": ...,
    "NotImplemented": NotImplemented,
    "mapping": NastyMapping(),
    "latest": datetime.max,
    "earliest": datetime.min,
    "last day": date.max,
    "longest": timedelta.max,
    "latest in UTC": datetime.max.replace(tzinfo=UTC),
    "earliest in UTC": datetime.min.replace(tzinfo=UTC),
    "odd zone": datetime(2026, 1, 1, tzinfo=timezone(timedelta(seconds=1))),
    "midnight": time.min,
}


@dataclass(frozen=True)
class Recipe:
    """How to make a value."""

    kind: str
    args: tuple[Any, ...]


_MAKERS: dict[str, Callable[..., Any]] = {
    "plain": lambda value: value,
    "list": lambda *items: [make(each) for each in items],
    "tuple": lambda *items: tuple(make(each) for each in items),
    "dict": lambda *items: {key: make(each) for key, each in items},
    "digits": lambda count: 10**count,
    "named": _NAMED.__getitem__,
    "hostile": _hostile,
    "cycle": _cycle,
    "nested": _nested,
}


def make(recipe: Recipe) -> Any:
    """The value."""
    return _MAKERS[recipe.kind](*recipe.args)


_plain = st.one_of(
    st.text(max_size=10),
    st.text(st.characters(categories=["Cs", "Cc", "Co", "Cn"]), max_size=3),
    st.sampled_from(["\0", "\ud800", "", "x" * 101, -1, 2**31, 2**63, True, None, b"\0", "echo"]),
    *(st.integers(), st.floats(), st.binary(max_size=5), st.complex_numbers(), st.decimals(), st.uuids()),
    *(st.dates(), st.times(timezones=st.none() | st.timezones()), st.timedeltas()),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.sets(st.integers(), max_size=2),
)
_hostile_args = st.tuples(
    st.sampled_from(list(_BASES)),
    st.lists(st.sampled_from(_METHODS), min_size=1, max_size=6, unique=True).map(tuple),
)


def _recipes(kind: str, *args: st.SearchStrategy[Any]) -> st.SearchStrategy[Recipe]:
    return st.builds(Recipe, st.just(kind), st.tuples(*args))


_shapes = st.sampled_from(["list", "dict"])
_leaves = st.one_of(
    _recipes("plain", _plain),
    _recipes("digits", st.integers(4290, 4310)),
    _recipes("named", st.sampled_from(list(_NAMED))),
    _recipes("cycle", _shapes),
    _recipes("nested", _shapes, st.sampled_from([98, 99, 100, 101, 5000])),
    st.builds(Recipe, st.just("hostile"), _hostile_args),
)
_keys = st.text(max_size=3) | st.integers(0, 9) | st.none()


def _within(inner: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
    items = st.lists(inner, max_size=3).map(tuple)
    pairs = st.dictionaries(_keys, inner, max_size=3).map(lambda drawn: tuple(drawn.items()))
    return st.builds(Recipe, st.sampled_from(["list", "tuple"]), items) | st.builds(Recipe, st.just("dict"), pairs)


#: Recipes for values of all kinds, and for lists and dicts of them.
recipes = st.recursive(_leaves, _within, max_leaves=6)
