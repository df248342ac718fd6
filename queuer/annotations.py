"""Reads JSON values back as what a callable's annotations say. msgspec converts; here is decided what it converts.

Annotations are hints, not checks: what is made of JSON's own types is left alone, and so is what msgspec does not know.
"""

import inspect
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, Union, get_type_hints

import msgspec
from msgspec import inspect as shapes

from queuer import pydantic_models
from queuer.errors import InvalidParameters

#: What JSON holds as it is.
_OWN = (
    shapes.AnyType,
    shapes.NoneType,
    shapes.BoolType,
    shapes.IntType,
    shapes.StrType,
    shapes.LiteralType,
    shapes.ListType,
    shapes.DictType,
    shapes.TypedDictType,
    shapes.Metadata,
    shapes.UnionType,
)
_OWN_KEYS = (shapes.AnyType, shapes.StrType, shapes.LiteralType)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads JSON values back as the type that an annotation names.

    Args:
        is_hint: All it does is to turn whole numbers into floats again; anything else it leaves alone.
    """

    annotation: Any
    is_hint: bool

    def read(self, value: object) -> Any:
        """Raises `ValueError` with the reason when `value` is no such thing."""
        try:
            return msgspec.convert(value, self.annotation, str_keys=True, dec_hook=_read_custom)
        except (msgspec.ValidationError, SystemError) as error:  # SystemError: before 0.22, of an int beyond all floats
            if self.is_hint:
                return value
            raise ValueError(str(error)) from error
        except Exception as error:  # a class may raise anything when it is made
            raise ValueError(f"{type(error).__name__}: {error}") from error


def reader(annotation: Any, *, or_none: bool = False) -> Reader | None:
    """What reads values back as `annotation` says; None = there is nothing to convert, or msgspec does not know how."""
    try:
        annotation = Union[annotation, None] if or_none else annotation  # noqa: UP007 - not all objects know `|`
        inside = list(_all_inside(shapes.type_info(annotation)))
    except Exception:  # noqa: BLE001 - anything may stand in an annotation
        return None
    if any(isinstance(shape, shapes.CustomType) and not _is_readable(shape.cls) for shape in inside):
        return None
    foreign = [shape for shape in inside if not _is_own(shape)]
    return Reader(annotation, all(isinstance(shape, shapes.FloatType) for shape in foreign)) if foreign else None


def _is_readable(kind: type) -> bool:
    return kind is object or pydantic_models.is_model(kind)


def _is_own(shape: shapes.Type) -> bool:
    if isinstance(shape, shapes.CustomType):
        return shape.cls is object
    if isinstance(shape, shapes.DictType) and not isinstance(shape.key_type, _OWN_KEYS):
        return False
    return isinstance(shape, _OWN)


def _all_inside(shape: shapes.Type) -> Iterator[shapes.Type]:
    """A type and all the types in it, each once: a recursive one contains itself."""
    waiting: list[Any] = [shape]
    seen: dict[int, Any] = {}
    while waiting:
        part = waiting.pop()
        if isinstance(part, tuple):
            waiting += part
        elif isinstance(part, (shapes.Type, shapes.Field)) and id(part) not in seen:
            seen[id(part)] = part
            waiting += [getattr(part, name) for name in part.__struct_fields__]
            if isinstance(part, shapes.Type):
                yield part


def _read_custom(kind: type, value: object) -> Any:
    return pydantic_models.read(kind, value) if pydantic_models.is_model(kind) else value


def hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a callable by name, without those that can't be resolved."""
    found: dict[str, Any] = {}
    with suppress(Exception):  # a callable may be anything
        function = _function(fn)
        names = getattr(function, "__globals__", {})
        for name, annotation in inspect.get_annotations(function).items():
            # One by one: a name that is imported for type checkers alone must not hide the others.
            with suppress(Exception):
                one = SimpleNamespace(__annotations__={name: annotation})
                found |= get_type_hints(one, names, include_extras=True)
    return found


def _function(fn: Any) -> Any:
    """The function in which a call of `fn` ends, whose annotations count."""
    while isinstance(fn, partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    if inspect.isclass(fn):
        return fn.__init__
    return fn if inspect.isroutine(fn) else type(fn).__call__


Named = tuple[str, Reader | None]


@dataclass(frozen=True, slots=True)
class CallReader:
    """Reads the arguments of a task's calls back, each by the annotation of its parameter."""

    task: str
    by_position: Sequence[Named]
    by_name: Mapping[str, Reader | None]
    #: Of `*args` and `**kwargs`.
    other_positions: Named
    other_names: Reader | None

    def read(
        self, parameters: Sequence[Any], parameters_keyed: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments as the task's annotations want them.

        Raises:
            InvalidParameters: One can't be converted; says which, and why.
        """
        known = len(self.by_position)
        positional = [
            self._read(*(self.by_position[index] if index < known else self.other_positions), value)
            for index, value in enumerate(parameters)
        ]
        keyed = {
            name: self._read(name, self.by_name.get(name, self.other_names), value)
            for name, value in parameters_keyed.items()
        }
        return positional, keyed

    def _read(self, name: str, reader: Reader | None, value: Any) -> Any:
        if reader is None:
            return value
        try:
            return reader.read(value)
        except ValueError as error:
            wanted = inspect.formatannotation(reader.annotation)
            raise InvalidParameters(
                f"task {self.task!r} takes {name} as {wanted} and can't read {reprlib.repr(value)} as one: {error};"
                " give it a value of that type, or change the annotation"
            ) from error


def call_reader(
    task: str, parameters: Iterable[inspect.Parameter], annotations: Mapping[str, Any]
) -> CallReader | None:
    """What reads the arguments of calls with these parameters; None = none of them needs it."""
    readers = [(parameter, _parameter_reader(parameter, annotations)) for parameter in parameters]
    if not any(found for _, found in readers):
        return None
    rest: dict[Any, Named] = {parameter.kind: (f"*{parameter.name}", found) for parameter, found in readers}
    return CallReader(
        task,
        [(parameter.name, found) for parameter, found in readers if parameter.kind in _POSITIONAL],
        {parameter.name: found for parameter, found in readers if parameter.kind in _NAMED},
        rest.get(inspect.Parameter.VAR_POSITIONAL, ("", None)),
        rest.get(inspect.Parameter.VAR_KEYWORD, ("", None))[1],
    )


def _parameter_reader(parameter: inspect.Parameter, annotations: Mapping[str, Any]) -> Reader | None:
    if parameter.name not in annotations:
        return None
    # `when: datetime = None` is often written, and means that None is allowed.
    return reader(annotations[parameter.name], or_none=parameter.default is None)
