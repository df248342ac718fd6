"""Values as PostgreSQL reads them from text: the driver takes longer to write them than for all the rest."""

from typing import Any
from uuid import UUID


def literal(value: Any) -> str:
    """A number, a text, a UUID, or a list of some, which may have None in it."""
    kind = type(value)
    if kind is str:
        return value  # type: ignore[no-any-return]
    if kind is UUID:
        return value.hex  # type: ignore[no-any-return]
    if kind is list:
        elements = ["NULL" if element is None else _quoted(literal(element)) for element in value]
        return f"{{{','.join(elements)}}}"
    return str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'
