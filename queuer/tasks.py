"""Tasks and where they are found: by name when a job runs, by callable when one is added."""

import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal, ParamSpec, TypeVar, cast, get_args, overload

from queuer.annotations import CallReader, Reader, call_reader, hints, reader
from queuer.errors import InvalidParameters, TaskAlreadyRegistered, TaskNotRegistered
from queuer.foreign import is_a, plain_text, shown
from queuer.options import check_name
from queuer.session_parameters import SessionParameter, session_parameter

P = ParamSpec("P")
R = TypeVar("R")

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

#: Where a task runs. "thread" is the worker's own process: a thread, or the event loop when it is a coroutine function.
#: "process" is a child process, which a timeout can kill and a crash can't carry further.
ExecutorName = Literal["thread", "process"]


@dataclass(frozen=True, slots=True)
class Task:
    """A callable under a name. Jobs know the name alone, so it may be registered in another process."""

    name: str
    fn: Callable[..., Any]
    executor: ExecutorName = "thread"
    is_async: bool = field(init=False)
    #: Of the calls that jobs are: without the session, which the worker gives.
    signature: inspect.Signature | None = field(init=False, repr=False, compare=False)
    #: Where it wants a session whose transaction is also that of the job's end.
    session: SessionParameter | None = field(init=False, repr=False, compare=False)
    #: What reads arguments back as the annotations say; None = they are passed as JSON has them.
    arguments: CallReader | None = field(init=False, repr=False, compare=False)
    #: The same for what the task returns.
    result: Reader | None = field(init=False, repr=False, compare=False)
    _counts: tuple[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        signature, annotations = _signature(self.fn), hints(self.fn)
        parameters = list(signature.parameters.values()) if signature else []
        is_async = _is_async(self.fn)
        session = session_parameter(self.name, parameters, annotations, is_async=is_async)
        if session is not None and signature is not None:
            if self.executor == "process":
                raise ValueError(
                    f"task {self.name!r} takes a session, which no other process can have; leave executor out"
                )
            parameters = [parameter for parameter in parameters if parameter.name != session.name]
            signature = signature.replace(parameters=parameters)
        object.__setattr__(self, "is_async", is_async)
        object.__setattr__(self, "session", session)
        object.__setattr__(self, "signature", signature)
        object.__setattr__(self, "arguments", call_reader(self.name, parameters, annotations))
        object.__setattr__(self, "result", reader(annotations.get("return", Any)))
        object.__setattr__(self, "_counts", _positional_counts(parameters))

    def read(
        self, parameters: Sequence[Any], parameters_keyed: Mapping[str, Any]
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """JSON values as the annotations say. To be called where the task runs: it runs code of their classes.

        Raises:
            InvalidParameters: One can't be converted.
        """
        if self.arguments is None:
            return parameters, parameters_keyed
        try:
            return self.arguments.read(parameters, parameters_keyed)
        except InvalidParameters as unreadable:
            unreadable.is_final = True
            raise

    def fits(self, count: int) -> bool:
        """Whether a call with so many positional arguments is known to be one that the signature allows."""
        fewest, most = self._counts
        return fewest <= count <= most

    def check_arguments(self, parameters: Sequence[Any], parameters_keyed: Mapping[str, Any]) -> None:
        """Raises `InvalidParameters` when a call with these arguments could only fail."""
        if self.signature is None or (not parameters_keyed and self.fits(len(parameters))):
            return
        try:
            self.signature.bind(*parameters, **parameters_keyed)
        except TypeError as error:
            raise InvalidParameters(f"task {self.name!r} takes {self.signature}: {error}") from None


def _positional_counts(parameters: Sequence[inspect.Parameter]) -> tuple[int, int]:
    """How many arguments a call may have, at least and at most, when all are positional. At most -1 = there may be no
    such call."""
    required = [parameter for parameter in parameters if parameter.default is parameter.empty]
    positional = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in required):
        return 0, -1
    return sum(parameter.kind in _POSITIONAL for parameter in required), len(positional)


def _is_async(fn: Callable[..., Any]) -> bool:
    try:
        return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
    except Exception:  # noqa: BLE001 - a callable may be anything
        return False


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except Exception:  # noqa: BLE001 - some built-ins have none, and a callable may be anything
        return None


def check_executor(executor: object) -> ExecutorName:
    """Raises `ValueError` unless `executor` names a place where tasks run."""
    for known in get_args(ExecutorName):
        if plain_text(executor) == known:
            return cast("ExecutorName", known)
    allowed = " and ".join(map(repr, get_args(ExecutorName)))
    raise ValueError(f"executor is {shown(executor)}; allowed are {allowed}")


def name_of(fn: object, what: str = "task", adding: str = "add_task") -> str:
    """The name that a callable has by itself. Raises `TypeError` for what can't be a task."""
    if not callable(fn):
        raise TypeError(f"{shown(fn)} can't be a {what}; allowed is a callable")
    name = plain_text(_attribute(fn, "__name__"))
    if name is None:
        raise TypeError(f"{shown(fn)} has no name of its own; use {adding}_with_name(fn, name)")
    return name


class TaskRegistry:
    """The tasks of one queuer, on top of those that were declared for all with `@queuer.task`.

    Args:
        what, adding: What is registered, and the method that does it, in messages.
    """

    def __init__(self, declared: "TaskRegistry | None" = None, *, what: str = "task", adding: str = "add_task") -> None:
        self._declared = declared
        self._what = what
        self._adding = adding
        self._tasks: dict[str, Task] = {}
        self._by_function: dict[object, Task] = {}
        self._lock = threading.Lock()

    def add(self, fn: object, name: str | None = None, executor: ExecutorName = "thread") -> Task:
        """Registers a callable, under its own name unless another is given.

        Raises:
            TypeError: Not a callable, or one without a name.
            ValueError: The name is empty, too long, or not a str; there is no such executor.
            TaskAlreadyRegistered: The name is taken.
        """
        own_name = name_of(fn, self._what, self._adding) if name is None else None
        if not callable(fn):
            raise TypeError(f"{shown(fn)} can't be the {self._what} {shown(name)}; allowed is a callable")
        task = Task(
            check_name(f"the {self._what}'s name", name if own_name is None else own_name), fn, check_executor(executor)
        )
        with self._lock:
            taken = self.get(task.name)
            if taken is not None:
                raise TaskAlreadyRegistered(
                    f"the {self._what} name {task.name!r} is taken by {_described(taken.fn)};"
                    f" add this one with {self._adding}_with_name(fn, another_name)"
                )
            self._tasks[task.name] = task
            if type(task.fn) is FunctionType:
                self._by_function.setdefault(task.fn, task)
        return task

    def remove(self, task: Task) -> None:
        """Forgets a task of this registry's own."""
        with self._lock:
            self._tasks.pop(task.name, None)
            self._by_function = {
                known.fn: known for known in reversed(self._tasks.values()) if type(known.fn) is FunctionType
            }

    def get(self, name: str) -> Task | None:
        return self._tasks.get(name) or (self._declared.get(name) if self._declared else None)

    def names(self) -> list[str]:
        names = list(self._tasks)
        if self._declared is not None:
            names += [name for name in self._declared.names() if name not in self._tasks]
        return names

    def resolve(self, task: object) -> tuple[str, Task | None]:
        """The name that a job for `task` gets, and the task if this process knows it.

        Args:
            task: A registered callable, a `Task`, or a name, which may belong to another process.

        Raises:
            TaskNotRegistered: A callable that was not registered here.
            TypeError: Neither a callable nor a name.
        """
        if type(task) is FunctionType and (found := self._by_function.get(task)):
            return found.name, found
        if (text := plain_text(task)) is not None:
            return check_name("the task's name", text), self.get(text)
        if is_a(task, Task):
            known = cast("Task", task)
            return known.name, known
        if not callable(task):
            raise TypeError(f"the task is {shown(task)}; allowed is a registered callable or a name")
        for known in self.all():
            if _is_same(known.fn, task):
                return known.name, known
        raise TaskNotRegistered(f"{_described(task)} is not a task here; register it with add_task, or give a name")

    def all(self) -> Iterator[Task]:
        own = dict(self._tasks)
        yield from own.values()
        if self._declared:
            yield from (task for task in self._declared.all() if task.name not in own)


def _described(fn: object) -> str:
    qualname = plain_text(_attribute(fn, "__qualname__"))
    return f"{plain_text(_attribute(fn, '__module__')) or '?'}.{qualname or shown(fn)}"


def _attribute(fn: object, name: str) -> object:
    try:
        return getattr(fn, name, None)
    except Exception:  # noqa: BLE001 - a callable may be anything
        return None


def _is_same(known: object, given: object) -> bool:
    try:
        return known is given or bool(known == given)  # a bound method is made anew each time
    except Exception:  # noqa: BLE001 - likewise
        return False


#: What `@queuer.task` declared in this process. A queuer reads it whenever it looks for a task.
declared = TaskRegistry()


@overload
def task(fn: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def task(
    fn: None = None, /, *, name: str | None = None, executor: ExecutorName = "thread"
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def task(fn: Callable[P, R] | None = None, /, *, name: str | None = None, executor: ExecutorName = "thread") -> Any:
    """Declares a task for every queuer of this process: `@queuer.task` or `@queuer.task(name="…")`.

    The function stays callable as it was.

    Args:
        executor: "process" runs it in a child process; see `Queuer.task`.
    """
    return register_with(declared.add, fn, name, executor)


def register_with(
    add: Callable[[object, str | None, ExecutorName], Task],
    fn: Callable[P, R] | None,
    name: str | None,
    executor: ExecutorName,
) -> Any:
    """The body of every task decorator, with and without parentheses."""
    if fn is not None:
        add(fn, name, executor)
        return fn

    def decorate(decorated: Callable[P, R]) -> Callable[P, R]:
        add(decorated, name, executor)
        return decorated

    return decorate
