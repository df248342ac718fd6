"""Values as PostgreSQL reads them from text: the driver takes longer to write them than for all the rest."""

from typing import Any
from uuid import UUID


def literal(value: Any) -> str | None:
    """A number, a text, a UUID, or a list of some."""
    kind = type(value)
    if kind is str or value is None:
        return value  # type: ignore[no-any-return]
    if kind is UUID:
        return value.hex  # type: ignore[no-any-return]
    if kind is list:
        elements = [_element(literal(element)) for element in value]
        return f"{{{','.join(elements)}}}"
    return str(value)


def _element(text: str | None) -> str:
    if text is None:
        return "NULL"
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
