"""Values as PostgreSQL reads them from text: to write them so takes the driver longer than all the rest."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID


def array(elements: Iterable[str]) -> str:
    """An array whose elements need no quotes."""
    return f"{{{','.join(elements)}}}"


def array_of_texts(texts: Iterable[str | None]) -> str:
    return array(["NULL" if text is None else _quoted(text) for text in texts])


def literal(value: Any) -> str | None:
    """A number, a text, a UUID, or a list of numbers or of texts."""
    kind = type(value)
    if kind is str or value is None:
        return value  # type: ignore[no-any-return]
    if kind is UUID:
        return value.hex  # type: ignore[no-any-return]
    if kind is list:
        return array_of_texts([literal(element) for element in value])
    return str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
