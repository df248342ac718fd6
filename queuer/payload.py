"""Checks that a value survives the way through PostgreSQL's jsonb, and writes it as JSON.

Python's json module writes NaN, turns keys into strings and takes any text; jsonb refuses NaN, NUL and lone
surrogates. So every value is walked first, and what would fail or change is refused with its path.
"""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from queuer.errors import InvalidParameters

#: Lists and dicts inside each other. Far below Python's recursion limit and PostgreSQL's stack depth.
DEEPEST = 100

#: Python refuses to read longer numbers from text (see sys.set_int_max_str_digits), so it could not read them back.
_LARGEST_INT = 10**4300

_HINTS: dict[type, str] = {
    bytes: "bytes have no JSON form: encode them as text, with base64 for example",
    bytearray: "bytes have no JSON form: encode them as text, with base64 for example",
    set: "a set has no JSON form: pass a list",
    frozenset: "a frozenset has no JSON form: pass a list",
}


def check(value: object, path: str) -> None:
    """Raises `InvalidParameters` with the path of the first value inside `value` that jsonb can't hold."""
    _check(value, path, 0)


def encode(value: object, path: str) -> str:
    """The JSON text of `value`. Tuples become lists. Raises like `check`."""
    _check(value, path, 0)
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _check(value: object, path: str, depth: int) -> None:
    match value:
        case None | bool():
            return
        case str():
            _check_text(value, path)
        case int() | float():
            _check_number(value, path)
        case list() | tuple():
            _check_depth(path, depth)
            for index, item in enumerate(value):
                _check(item, f"{path}[{index}]", depth + 1)
        case dict():
            _check_depth(path, depth)
            for key, item in value.items():
                _check_key(key, path)
                _check(item, f"{path}[{key!r}]", depth + 1)
        case _:
            hint = _HINTS.get(type(value), "allowed are None, bool, int, float, str, list, tuple and dict")
            raise InvalidParameters(f"{path} is of type {type(value).__name__}, which JSON can't hold; {hint}")


def _check_number(value: float, path: str) -> None:
    if isinstance(value, int):
        if abs(value) >= _LARGEST_INT:
            raise InvalidParameters(f"{path} has more than 4300 digits, which JSON readers refuse; pass it as text")
    elif not math.isfinite(value):
        raise InvalidParameters(f"{path} is {value!r}; JSON allows finite numbers only, or null")


def _check_depth(path: str, depth: int) -> None:
    if depth >= DEEPEST:
        raise InvalidParameters(f"{path[:60]}… is nested deeper than {DEEPEST} levels, or contains itself; flatten it")


def _check_key(key: object, path: str) -> None:
    if not isinstance(key, str):
        kind = type(key).__name__
        raise InvalidParameters(f"{path} has a key of type {kind}; JSON allows keys of type str only: write str(key)")
    _check_text(key, f"the key {key!r} in {path}")


def _check_text(value: str, path: str) -> None:
    if "\0" in value:
        raise InvalidParameters(f"{path} has a NUL character (\\x00), which PostgreSQL can't hold; remove it")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            bad = f"\\u{ord(value[error.start]):04x}"
            raise InvalidParameters(f"{path} has the lone surrogate {bad}, which is no character; remove it") from None


def decode(text: str | bytes) -> Any:
    """Reads JSON that any program may have written. Never fails, so that such a row can be looked at.

    Whole numbers of more digits than Python reads come as Decimal, and what is nested too deeply as None.
    """
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(text, parse_int=Decimal)
    except RecursionError:
        return None


def readable(text: str) -> str:
    """`text` with what PostgreSQL's text can't hold written as escapes: for messages, which must never be refused."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def call_arguments(parameters: object, parameters_keyed: object) -> tuple[list[Any], Mapping[str, Any]]:
    """The arguments of a call as they came from the table, where any program may have written them.

    Raises:
        InvalidParameters: They are not an array and an object.
    """
    if not isinstance(parameters, list):
        raise InvalidParameters(f"parameters is {_kind(parameters)}; allowed is an array")
    if not isinstance(parameters_keyed, dict):
        raise InvalidParameters(f"parameters_keyed is {_kind(parameters_keyed)}; allowed is an object")
    return parameters, parameters_keyed


def _kind(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
