"""Looks at values of classes that nobody knows, which may raise anything, or say anything, when they are looked at."""

from typing import Any
from uuid import UUID

#: Holds what a UUID is.
_NUMBER: Any = UUID.__dict__["int"]

#: Characters that are shown of a value.
_SHOWN = 300


def shown(value: object) -> str:
    """`repr(value)` for messages: cut where it is long, and a description where there is none."""
    try:
        text = str.__str__(repr(value))  # may be of a subclass
    except Exception:  # noqa: BLE001 - that of an int beyond 4300 digits as well
        return f"<{name_of_type(type(value))} that can't be shown>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def said(error: BaseException) -> str:
    """`Type: message` of an error."""
    try:
        text = str.__str__(str(error))
    except Exception as unreadable:  # noqa: BLE001
        text = f"(its message can't be read: {name_of_type(type(unreadable))})"
    return f"{name_of_type(type(error))}: {text}" if text else name_of_type(type(error))


def is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    """`isinstance`, and False for a proxy that can't say what it stands for."""
    try:
        return isinstance(value, kind)
    except Exception:  # noqa: BLE001 - its __class__ may be computed
        return False


def plain_number(value: object) -> int | float | None:
    """The number as Python's own type, whatever a subclass makes of it; None for a bool and for what is no number."""
    kind = type(value)
    if issubclass(kind, bool):
        return None
    if issubclass(kind, int):
        return int.__int__(value)  # type: ignore[arg-type]
    return float.__float__(value) if issubclass(kind, float) else None  # type: ignore[arg-type]


def plain_text(value: object) -> str | None:
    """The text as Python's own type; None for what is no text."""
    return str.__str__(value) if issubclass(type(value), str) else None


def plain_uuid(value: object) -> UUID | None:
    """The UUID as Python's own type, whatever a subclass makes of it; None for what is no UUID."""
    if type(value) is UUID:
        return value
    return UUID(int=_NUMBER.__get__(value)) if issubclass(type(value), UUID) else None


def name_of_type(kind: type) -> str:
    """The name of a class, whatever its metaclass says."""
    name: str = type.__dict__["__name__"].__get__(kind)
    return name
