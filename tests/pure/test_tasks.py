import asyncio
from functools import partial
from unittest.mock import ANY

import pytest

import queuer
from queuer import InvalidParameters, TaskAlreadyRegistered, TaskNotRegistered
from queuer.tasks import TaskRegistry


def greet(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


class Greeter:
    def greet(self) -> str:
        return "hello"

    async def __call__(self) -> None: ...


def test_a_task_has_the_functions_own_name_or_the_given_one() -> None:
    registry = TaskRegistry()
    assert registry.add(greet).name == "greet"
    assert registry.add(greet, "salute").name == "salute"
    assert registry.names() == ["greet", "salute"]


def test_methods_partials_and_callables_are_tasks() -> None:
    registry, greeter = TaskRegistry(), Greeter()
    registry.add(greeter.greet, "method")
    registry.add(partial(greet, loud=True), "partial")
    assert registry.add(greeter, "callable").is_async
    assert registry.resolve(greeter.greet)[0] == "method"
    assert registry.resolve(greeter)[0] == "callable"


def test_coroutine_functions_are_told_from_others() -> None:
    registry = TaskRegistry()
    assert registry.add(asyncio.sleep).is_async
    assert registry.add(partial(asyncio.sleep, 1), "partial").is_async
    assert not registry.add(greet).is_async


def test_a_taken_name_is_an_error_that_says_which() -> None:
    registry = TaskRegistry()
    registry.add(greet)
    with pytest.raises(TaskAlreadyRegistered, match="'greet' is taken by test_tasks.greet|'greet' is taken by .*greet"):
        registry.add(greet)


@pytest.mark.parametrize("fn", [None, 5, "greet"])
def test_what_is_not_callable_is_an_error_that_says_which(fn: object) -> None:
    with pytest.raises(TypeError, match=f"{fn!r} can't be a task"):
        TaskRegistry().add(fn)
    with pytest.raises(TypeError, match=f"{fn!r} can't be the task 'named'"):
        TaskRegistry().add(fn, "named")


def test_a_callable_without_a_name_needs_one() -> None:
    with pytest.raises(TypeError, match="has no name of its own; use add_task_with_name"):
        TaskRegistry().add(partial(greet))


@pytest.mark.parametrize("name", ["", "x" * 101, "a\0b", 5])
def test_a_name_has_1_to_100_characters(name: object) -> None:
    with pytest.raises(ValueError, match="the task's name is .*; allowed is a str of 1 to 100 characters"):
        TaskRegistry().add(greet, name)


def test_an_unregistered_callable_is_an_error_but_a_name_may_belong_elsewhere() -> None:
    registry = TaskRegistry()
    with pytest.raises(TaskNotRegistered, match="greet is not a task here; register it with add_task"):
        registry.resolve(greet)
    assert registry.resolve("anything") == ("anything", None)
    with pytest.raises(TypeError, match="the task is 5; allowed is"):
        registry.resolve(5)


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("a", "b"), {}), (("a",), {"quiet": True})])
def test_arguments_that_do_not_fit_are_refused(args: tuple[str, ...], kwargs: dict[str, bool]) -> None:
    task = TaskRegistry().add(greet)
    with pytest.raises(InvalidParameters, match=r"task 'greet' takes \(name: str, \*, loud: bool = False\)"):
        task.check_arguments(args, kwargs)


def test_declared_tasks_belong_to_every_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = TaskRegistry()
    early = TaskRegistry(declared)
    declared.add(greet)
    for registry in (early, TaskRegistry(declared)):
        assert registry.names() == ["greet"]
        with pytest.raises(TaskAlreadyRegistered):
            registry.add(greet)


def test_the_decorators_leave_the_function_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = TaskRegistry()
    monkeypatch.setattr("queuer.tasks.declared", declared)

    @queuer.task
    def plain() -> int:
        return 1

    @queuer.task()
    def called() -> int:
        return 2

    @queuer.task(name="other")
    def named() -> int:
        return 3

    assert (plain(), called(), named()) == (1, 2, 3)
    assert declared.names() == ["plain", "called", "other"]


@pytest.mark.parametrize("thing", [ANY, 5, None])
def test_what_equals_everything_is_no_task_either(thing: object) -> None:
    registry = TaskRegistry()
    registry.add(len, "len")
    with pytest.raises(TypeError, match="^the task is .*; allowed is a registered callable or a name"):
        registry.resolve(thing)


def test_a_callable_that_can_not_be_compared_is_not_registered() -> None:
    class Touchy:
        def __eq__(self, _other: object) -> bool:
            raise RuntimeError("do not touch")

        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> None: ...

    registry = TaskRegistry()
    registry.add(len, "len")
    with pytest.raises(TaskNotRegistered, match="is not a task here"):
        registry.resolve(Touchy())
