import asyncio
import contextvars
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from support.bench import Bench, add, add_async
from support.jobs import claimed

from queuer import NoCurrentJob, OnError, current_job
from queuer.values import Verdict
from queuer.worker.attempt import LONGEST_MESSAGE


@pytest.mark.parametrize("fn", [add, add_async, functools.partial(add, b=1)])
def test_a_task_gets_its_parameters_and_its_value_is_the_result(bench: Bench, fn: Callable[..., Any]) -> None:
    bench.run(fn, 5)
    outcome = bench.outcome()
    assert (outcome.verdict, outcome.results) == (Verdict.SUCCEEDED, "[6]")
    assert outcome.elapsed >= 0
    bench.run(fn, 5, parameters_keyed={"b": 3})
    assert bench.outcome().results == "[8]"


def fail(kind: type[BaseException]) -> None:
    raise kind("no\0good")


async def fail_async(kind: type[BaseException]) -> None:
    raise kind("no\0good")


@pytest.mark.parametrize("fn", [fail, fail_async])
@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, BaseException])
def test_any_exception_fails_the_job_alone(bench: Bench, fn: Callable[..., Any], kind: type[BaseException]) -> None:
    bench.registry.add(functools.partial(fn, kind), "task")
    bench.registry.add(add)
    bench.runner.run([claimed("task")])
    outcome = bench.outcome()
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error == f"{kind.__name__}: no\\x00good"
    assert f"in {fn.__name__}" in outcome.failure.traceback
    bench.runner.run([claimed("add", 1)])
    assert bench.outcome().verdict is Verdict.SUCCEEDED


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_that_can_not_be_printed_fails_the_job_all_the_same(bench: Bench) -> None:
    def task() -> None:
        raise Unprintable

    bench.run(task)
    failure = bench.outcome().failure
    assert failure is not None
    assert failure.error == "Unprintable: (its message can't be read: RuntimeError)"


def test_a_task_that_a_task_started_may_exit_without_ending_the_loop(bench: Bench) -> None:
    async def child() -> None:
        sys.exit(3)

    async def task() -> None:
        await asyncio.wait([asyncio.ensure_future(child())])

    bench.run(task)
    assert bench.outcome().verdict is Verdict.SUCCEEDED
    bench.run(task)
    assert bench.outcome().verdict is Verdict.SUCCEEDED


def test_failures_are_retried_as_often_as_allowed(bench: Bench) -> None:
    columns = {"options": {"on_error": OnError(max_retries=1, retry_delay=7).to_json()}}
    bench.run(fail, "not callable", **columns)
    outcome = bench.outcome()
    assert (outcome.verdict, outcome.delay) == (Verdict.RETRY, 7)
    bench.run(fail, "not callable", failures=1, **columns)
    assert bench.outcome().verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"parameters_keyed": []}, "InvalidParameters: parameters_keyed is an array"),
        ({"options": {"on_error": {"timeout": -1}}}, "ValueError: timeout is -1"),
        ({"options": [1]}, "ValueError: options is [1]"),
        ({"task_name": "unheard"}, "TaskNotRegistered: the task 'unheard'"),
    ],
)
def test_a_row_that_makes_no_sense_fails_with_the_reason(bench: Bench, columns: dict[str, Any], says: str) -> None:
    bench.registry.add(add, "task")
    bench.runner.run([claimed(columns.pop("task_name", "task"), 1, **columns)])
    outcome = bench.outcome()
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error.startswith(says)
    assert bench.runner.room() == 3


def test_a_result_that_json_can_not_hold_fails_the_job_for_good(bench: Bench) -> None:
    bench.run(lambda: {1, 2}, options={"on_error": OnError().to_json()})
    outcome = bench.outcome()
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error.startswith("InvalidParameters: results[0] is of type set")


def test_a_task_knows_its_job_and_nobody_else_does(bench: Bench) -> None:
    def name() -> list[object]:
        job = current_job()
        return [job.task_name, job.attempt, dict(job.metadata)]

    async def name_async() -> list[object]:
        await asyncio.sleep(0)
        return name()

    for fn in (name, name_async):
        bench.registry.add(fn)
        bench.runner.run([claimed(fn.__name__, attempt=3, options={"metadata": {"a": 1}})])
        assert bench.outcome().results == f'[["{fn.__name__}",3,{{"a":1}}]]'
    with pytest.raises(NoCurrentJob, match=r"call current_job\(\) inside a task"):
        current_job()


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    bench = Bench()
    for fn in (add, add_async):
        bench.registry.add(fn)
        bench.runner.run([claimed(fn.__name__, 1)])
        bench.outcome()
    bench.runner.close()
    assert threading.active_count() == before


class Growing(dict[str, int]):
    """Changes while it is read."""

    def items(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")


class Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit


class Noteless(Exception):
    __notes__ = property(lambda _self: 1 / 0)  # type: ignore[assignment]


def raise_badly_built_syntax_error() -> None:
    raise SyntaxError("x", ("file", "a", "b", "c"))


@pytest.mark.parametrize(
    "fn",
    [
        lambda: Growing(a=1),
        functools.partial(fail, Exiting),
        functools.partial(fail, Noteless),
        raise_badly_built_syntax_error,
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_whatever_a_task_leaves_behind_its_job_ends_and_its_slot_is_free(
    bench: Bench, fn: Callable[..., Any], kind: str
) -> None:
    async def coroutine() -> Any:
        return fn()

    bench.run(coroutine if kind == "async" else fn)
    assert bench.outcome().verdict is Verdict.FAILED
    assert bench.runner.wait_idle(5)
    bench.registry.add(add)
    bench.runner.run([claimed("add", n) for n in range(3)])
    assert {bench.outcome().verdict for _ in range(3)} == {Verdict.SUCCEEDED}


def test_what_one_task_sets_in_its_context_does_not_reach_the_next(bench: Bench) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    def task() -> str:
        before = variable.get()
        variable.set("set")
        return before

    for _ in range(4):
        bench.run(task)
        assert bench.outcome().results == '["unset"]'


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "[1" + "0" * 5000 + "]"])
def test_json_that_python_can_not_read_fails_its_job_alone(bench: Bench, text: str) -> None:
    bench.registry.add(add)
    bench.runner.run([structs.replace(claimed("add", 1), parameters=text), claimed("add", 1)])
    assert {bench.outcome().verdict for _ in range(2)} == {Verdict.FAILED, Verdict.SUCCEEDED}
    assert bench.runner.wait_idle(5)


def test_a_giant_message_is_cut_and_its_task_named(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("x" * 1_000_000)

    bench.run(fail)
    failure = bench.outcome().failure
    assert failure is not None
    assert len(failure.message) == LONGEST_MESSAGE
    assert failure.message.endswith("x… (1000000 characters)")
    assert "in fail" in failure.traceback, "the message must not displace the lines of code"
    (said,) = [message for message in caplog.messages if "1000000 characters" in message]
    assert said.startswith("task 'task' of job ")


def test_an_error_whose_class_lies_fails_the_job(bench: Bench) -> None:
    class Meta(type):
        __name__ = property(lambda _cls: 1 / 0)  # type: ignore[assignment]

    class Liar(Exception, metaclass=Meta):
        @property
        def __class__(self) -> type:
            raise RuntimeError("no")

        def __str__(self) -> str:
            raise KeyError

    def fail() -> None:
        raise Liar

    bench.run(fail)
    failure = bench.outcome().failure
    assert failure is not None
    assert (failure.type, failure.message) == ("Liar", "(its message can't be read: KeyError)")
