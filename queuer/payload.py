"""Writes a value as JSON that survives the way through PostgreSQL's jsonb.

Python's json module writes NaN, turns keys into strings and takes any text; jsonb refuses NaN, NUL and lone
surrogates. So every value is walked first, and what would fail or change is refused with its path.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from queuer import pydantic_models
from queuer.errors import InvalidParameters
from queuer.foreign import is_a, said

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

#: Where a value is: a name, or a path and a key. Only an error makes a text of it.
Path = str | tuple[Any, int | str]

_OWN = "None, bool, int, float, str, list, tuple and dict"
_RICH = "datetime, date, time, timedelta, UUID, Decimal, enums, dataclasses and pydantic models"

_SCALARS = (date, time, timedelta, UUID, Decimal)  # a datetime is a date


def checked(value: object, path: str) -> Any:
    """A copy of `value`, for what is stored as it is: mappings become dicts, tuples lists, and nothing else changes.

    Raises:
        InvalidParameters: Something inside is nothing that jsonb can hold; says where.
    """
    return _guarded(value, path, _refuse)


def json_value(value: object, path: str) -> Any:
    """The JSON that stands for `value`: tuples become lists, instants text, dataclasses dicts. See docs/types.md.

    Raises:
        InvalidParameters: Something inside has no JSON form, or one that jsonb can't hold; says where.
    """
    if (type(value) is list or type(value) is tuple) and is_plain(value):
        return list(value)
    if type(value) is dict and not value:
        return {}
    return _guarded(value, path, _json_form)


def is_plain(values: Sequence[object]) -> bool:
    """Whether a walk over these values would find nothing but what JSON holds as it is. Most calls are like that."""
    for value in values:
        kind = type(value)
        if kind is str:
            if not value.isascii() or "\0" in value:  # type: ignore[attr-defined, operator]
                return False
        elif kind is int:
            if not -(2**63) <= value < 2**63:  # type: ignore[operator]
                return False
        elif value is not None and kind is not bool:
            return False
    return True


def _guarded(value: object, path: str, convert: Callable[[object, Path], object]) -> Any:
    try:
        outermost = dict(value) if is_a(value, Mapping) else value  # type: ignore[call-overload]
        return _walk(outermost, path, 0, convert)
    except InvalidParameters:
        raise
    except Exception as error:  # classes may do anything when they are looked at; another thread may change a dict
        raise InvalidParameters(f"{path} can't be read: {said(error)}; pass plain values") from error


def encode(value: object, path: str) -> str:
    """The JSON text of `value`. Raises like `json_value`."""
    return compact(json_value(value, path)).decode()


def compact(value: object) -> bytes:
    """The JSON text of what `json_value` returned."""
    try:
        return msgspec.json.encode(value)
    except OverflowError:  # an int of more than 64 bits
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def compact_lists(values: Sequence[Sequence[object]]) -> list[bytes]:
    """`compact` of lists of plain values."""
    return _encode_lines(values).splitlines()  # JSON writes line breaks in texts as escapes


_encode_lines = msgspec.json.Encoder().encode_lines


def _walk(value: object, path: Path, depth: int, convert: Callable[[object, Path], object]) -> Any:
    match value:
        case None | bool():
            return value
        case str() | int() | float():
            return _checked_scalar(value, path)
        case list() | tuple():
            _check_depth(path, depth)
            return [_walk(item, (path, index), depth + 1, convert) for index, item in enumerate(value)]
        case dict():
            _check_depth(path, depth)
            walked = {}
            for key, item in value.items():
                text = _checked_key(key, path)
                walked[text] = _walk(item, (path, text), depth + 1, convert)
            return walked
        case _:  # what it becomes is walked in its place
            return _walk(convert(value, path), path, depth, convert)


def _json_form(value: object, path: Path) -> object:
    """The outermost level of `value` as JSON."""
    try:
        if isinstance(value, Enum):
            return value.value
        if isinstance(value, _SCALARS):
            return msgspec.to_builtins(_with_plain_offset(value), enc_hook=_form_of_subclass)
        if is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in fields(value)}
        if pydantic_models.is_model(type(value)):
            return pydantic_models.write(value)
    except Exception as error:  # its class may do anything
        reason = str(error) if type(error) is ValueError else said(error)
        kind = type(value).__name__
        raise InvalidParameters(f"{_shown(path)} is of type {kind} and can't be written: {reason}") from error
    raise _refusal(value, path, f"{_OWN}, and {_RICH}")


def _with_plain_offset(value: object) -> object:
    """msgspec writes offsets from UTC in whole minutes and drops the rest; those of history have seconds."""
    if not isinstance(value, (datetime, time)) or value.tzinfo is None:
        return value
    offset = value.utcoffset()
    if offset is not None and offset % timedelta(minutes=1) == timedelta(0):
        return value
    if isinstance(value, time):
        why = "its time zone has no fixed offset in whole minutes; pass a datetime, or leave the zone out"
        raise ValueError(why)  # noqa: TRY004 - other times are allowed
    return value.astimezone(UTC)


def _form_of_subclass(value: Any) -> object:
    """msgspec takes the exact types alone. Those of pendulum, or the fakes of a test, are written as what they are."""
    match value:
        case Decimal():
            return str(value)
        case timedelta():
            return timedelta(value.days, value.seconds, value.microseconds)
        case _:
            return value.isoformat()


def _refuse(value: object, path: Path) -> object:
    raise _refusal(value, path, _OWN)


def _refusal(value: object, path: Path, allowed: str) -> InvalidParameters:
    hint = _HINTS.get(type(value), f"allowed are {allowed}")
    return InvalidParameters(f"{_shown(path)} is of type {type(value).__name__}, which JSON can't hold; {hint}")


def _checked_scalar(value: str | float, path: Path) -> str | float:
    """The same as Python's own type: a subclass may say anything of itself."""
    if isinstance(value, str):
        text = str.__str__(value)
        _check_text(text, path)
        return text
    if isinstance(value, int):
        return _checked_int(int.__int__(value), path)
    return _checked_float(float.__float__(value), path)


def _checked_int(value: int, path: Path) -> int:
    if abs(value) >= _LARGEST_INT:
        raise InvalidParameters(f"{_shown(path)} has more than 4300 digits, which JSON readers refuse; pass it as text")
    return value


def _checked_float(value: float, path: Path) -> float:
    if not math.isfinite(value):
        raise InvalidParameters(f"{_shown(path)} is {value!r}; JSON allows finite numbers only, or null")
    return value


def _check_depth(path: Path, depth: int) -> None:
    if depth >= DEEPEST:
        raise InvalidParameters(
            f"{_shown(path)[:60]}… is nested deeper than {DEEPEST} levels, or contains itself; flatten it"
        )


def _checked_key(key: object, path: Path) -> str:
    if not isinstance(key, str):
        kind = type(key).__name__
        raise InvalidParameters(
            f"{_shown(path)} has a key of type {kind}; JSON allows keys of type str only: write str(key)"
        )
    text = str.__str__(key)
    if "\0" in text or not text.isascii():
        _check_text(text, f"the key {text!r} in {_shown(path)}")
    return text


def _check_text(value: str, path: Path) -> None:
    if "\0" in value:
        raise InvalidParameters(f"{_shown(path)} has a NUL character (\\x00), which PostgreSQL can't hold; remove it")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            bad = f"\\u{ord(value[error.start]):04x}"
            raise InvalidParameters(
                f"{_shown(path)} has the lone surrogate {bad}, which is no character; remove it"
            ) from None


def _shown(path: Path) -> str:
    return path if isinstance(path, str) else f"{_shown(path[0])}[{path[1]!r}]"


def read(text: str | bytes) -> Any:
    """What `json.loads` comes to, in a seventh of its time.

    Raises:
        ValueError: It is no JSON, or has whole numbers of more digits than Python reads.
        RecursionError: It is nested too deeply.
    """
    try:
        return _read(text)
    except msgspec.MsgspecError:  # also of a number that is infinite for a float
        return json.loads(text)


_read = msgspec.json.Decoder().decode


def decode(text: str | bytes) -> Any:
    """Reads JSON that any program may have written. Never fails, so that such a row can be looked at.

    Whole numbers of more digits than Python reads come as Decimal, and what is nested too deeply as None.
    """
    try:
        return read(text)
    except ValueError:
        return json.loads(text, parse_int=Decimal)
    except RecursionError:
        return None


def readable(text: str) -> str:
    """`text` with what PostgreSQL's text can't hold written as escapes: for messages, which must never be refused."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def one_line(text: str) -> str:
    """`text` with line breaks and other control characters written as escapes: for logs, where it can forge no line."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


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
