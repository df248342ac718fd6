"""pydantic models as JSON, and back. pydantic is an extra, so nothing here imports it: who has a model has it, too."""

import json
import sys
from typing import Any

#: What pydantic writes in place of a secret.
_MASK = "**********"


def is_model(kind: object) -> bool:
    """Whether `kind` is a class of pydantic models."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def write(model: Any) -> Any:
    """The JSON form that the model itself has, under the names of its fields: those hold whatever its aliases are.

    Raises:
        ValueError: It holds a secret, which would arrive as asterisks.
    """
    written = model.model_dump(mode="json", by_alias=False, round_trip=True)
    if _MASK in repr(written) and _holds_secret(model.model_dump()):
        raise ValueError("pydantic hides its secrets; give it a field_serializer that reveals them, or pass them apart")
    return written


def _holds_secret(value: object) -> bool:
    match value:
        case dict():
            return any(map(_holds_secret, value.values()))
        case list() | tuple() | set() | frozenset():
            return any(map(_holds_secret, value))
        case _:
            return hasattr(value, "get_secret_value")


def read(kind: Any, value: object) -> Any:
    """The model that was written as `value`, by `write` or, under its aliases, by another program.

    Raises:
        ValueError: It is none; says which fields are wrong, and why.
    """
    try:
        # From text, because then a strict model takes text for instants, too.
        return kind.model_validate_json(json.dumps(value), by_alias=True, by_name=True)
    except sys.modules["pydantic"].ValidationError as error:
        raise ValueError("; ".join(map(_said, error.errors(include_url=False)))) from None


def _said(error: dict[str, Any]) -> str:
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg']}" if place else str(error["msg"])
