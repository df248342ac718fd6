"""The parameter through which a task gets a SQLAlchemy session. It is known by its annotation, without SQLAlchemy."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

#: For type checkers: the first parameter of a task, which callers do not give.
AnySession = TypeVar("AnySession", bound="Session | AsyncSession")

_SESSION = ("sqlalchemy.orm.session", "Session")
_ASYNC_SESSION = ("sqlalchemy.ext.asyncio.session", "AsyncSession")


@dataclass(frozen=True, slots=True)
class SessionParameter:
    """Where a task wants its session.

    Args:
        session_class: `Session` or `AsyncSession`, or a class derived from them.
        position: Among the positional arguments; None = it is passed by name.
    """

    name: str
    session_class: type[Any]
    is_async: bool
    position: int | None

    def pass_on(
        self, session: object, parameters: Sequence[Any], parameters_keyed: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """The arguments of a call, with the session among them."""
        if self.position is None or len(parameters) < self.position:
            return parameters, {**parameters_keyed, self.name: session}
        return [*parameters[: self.position], session, *parameters[self.position :]], parameters_keyed


def session_parameter(
    task: str, parameters: Iterable[inspect.Parameter], annotations: Mapping[str, Any], *, is_async: bool
) -> SessionParameter | None:
    """The parameter of a task that is annotated as a session; None = it wants none.

    Args:
        is_async: Whether the task is a coroutine function.

    Raises:
        TypeError: There are two; or it is a `Session` where an `AsyncSession` is needed, or the other way round.
    """
    read = (_read(task, index, parameter, annotations) for index, parameter in enumerate(parameters))
    found = [parameter for parameter in read if parameter is not None]
    if len(found) > 1:
        raise TypeError(f"task {task!r} has {len(found)} parameters for a session; allowed is one")
    if found and found[0].is_async is not is_async:
        kind, wanted = ("a coroutine", "AsyncSession") if is_async else ("a plain", "Session")
        raise TypeError(f"task {task!r} is {kind} function; annotate {found[0].name} as {wanted}")
    return found[0] if found else None


def _read(
    task: str, index: int, parameter: inspect.Parameter, annotations: Mapping[str, Any]
) -> SessionParameter | None:
    _check_resolved(task, parameter, annotations)
    annotation = annotations.get(parameter.name)
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if not isinstance(annotation, type):
        return None
    names = {(base.__module__, base.__name__) for base in annotation.__mro__}
    if not names & {_SESSION, _ASYNC_SESSION}:
        return None
    position = None if parameter.kind is inspect.Parameter.KEYWORD_ONLY else index
    return SessionParameter(parameter.name, annotation, _ASYNC_SESSION in names, position)


def _check_resolved(task: str, parameter: inspect.Parameter, annotations: Mapping[str, Any]) -> None:
    """A session that is imported for type checkers alone would be taken for an argument that callers have to give."""
    written = parameter.annotation
    if parameter.name in annotations or not isinstance(written, str):
        return
    if written.rpartition(".")[2] in (_SESSION[1], _ASYNC_SESSION[1]):
        raise TypeError(
            f"task {task!r} annotates {parameter.name} as {written}, which can't be found when the program runs; import"
            " it outside of `if TYPE_CHECKING:`"
        )
