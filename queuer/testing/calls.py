"""Calls of tasks as tests write them, compared with those that jobs are, which are JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from queuer import foreign
from queuer.additions import origins
from queuer.errors import InvalidParameters, TaskNotRegistered
from queuer.payload import json_value
from queuer.tasks import Task, TaskRegistry

Arguments = tuple[Sequence[Any], Mapping[str, Any]]


def names_of(task: object) -> set[str]:
    """The names under which the queuers of this process know a task.

    Raises:
        TaskNotRegistered: It is a callable that none of them knows, so that no job could be found for it.
        TypeError: Neither a callable nor a name.
    """
    if isinstance(task, (str, Task)):
        return {task if isinstance(task, str) else task.name}
    if not callable(task):
        raise TypeError(f"the task is {task!r}; allowed is a registered callable or a name")
    names = {known.name for origin in list(origins.values()) for known in origin.tasks.all() if known.fn == task}
    if not names:
        raise TaskNotRegistered(f"no queuer of this process has {task!r} as a task; register it, or give a name")
    return names


def expected(value: object) -> Any:
    """What a value reads like in JSON. What JSON can't hold stands for itself: things like `unittest.mock.ANY`."""
    try:
        return json_value(value, "value")
    except InvalidParameters:
        pass
    if isinstance(value, Mapping):
        return {key: expected(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [expected(item) for item in value]
    return value


def bound(tasks: TaskRegistry, task_name: str, parameters: Sequence[Any], keyed: Mapping[str, Any]) -> Arguments:
    """Arguments as the task's signature sorts them, so that it does not matter how they were passed."""
    task = tasks.get(task_name)
    if task is not None and task.signature is not None:
        try:
            arguments = task.signature.bind(*parameters, **keyed)
        except TypeError:  # the expected ones do not fit
            pass
        else:
            return list(arguments.args), dict(arguments.kwargs)
    return list(parameters), dict(keyed)


def shown(task_name: str, parameters: Sequence[Any], keyed: Mapping[str, Any]) -> str:
    """A call in words."""
    by_name = (f"{name}={foreign.shown(item)}" for name, item in keyed.items())
    return f"{task_name}({', '.join([*map(foreign.shown, parameters), *by_name])})"
