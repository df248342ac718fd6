import asyncio
import contextlib
import contextvars
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from time import monotonic
from typing import Any

import pytest
from support.jobs import claimed

from queuer import JobTimeout, NoCurrentJob, OnError, current_job
from queuer.errors import JobCancelled, JobInterrupted
from queuer.tasks import TaskRegistry
from queuer.values import Outcome, Verdict
from queuer.worker import runner as runner_module
from queuer.worker.runner import Runner

SHORT = {"on_error": OnError(timeout=0.1, max_retries=0).to_json()}

Outcomes = SimpleQueue[Outcome]


class Bench:
    """A runner with the tasks of one test."""

    def __init__(self) -> None:
        self.registry = TaskRegistry()
        self.outcomes: Outcomes = SimpleQueue()
        self.freed = threading.Event()
        self.runner = Runner(3, None, find=self.registry.get, report=self.outcomes.put, freed=self.freed.set)
        self.runner.start()

    def run(self, fn: Callable[..., Any], *parameters: Any, **columns: Any) -> None:
        if self.registry.get("task") is None:
            self.registry.add(fn, "task")
        self.runner.run([claimed("task", *parameters, **columns)])

    def outcome(self) -> Outcome:
        return self.outcomes.get(timeout=5)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.runner.close()


def add(a: int, b: int = 1) -> int:
    return a + b


async def add_async(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


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
    assert bench.runner.free == 3


def test_a_result_that_json_can_not_hold_fails_the_job_for_good(bench: Bench) -> None:
    bench.run(lambda: {1, 2}, options={"on_error": OnError().to_json()})
    outcome = bench.outcome()
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error.startswith("InvalidParameters: results[0] is of type set")


def loop_for_ever() -> None:
    while True:
        pass


async def await_for_ever() -> None:
    await asyncio.Event().wait()


def swallow_everything() -> str:
    """Runs on until it is interrupted, and behaves as if nothing had been."""
    try:
        loop_for_ever()
    except BaseException:  # noqa: BLE001 - the point
        return "fine"


@pytest.mark.parametrize("fn", [loop_for_ever, await_for_ever, swallow_everything])
def test_a_timeout_ends_the_attempt_and_frees_the_slot(bench: Bench, fn: Callable[..., Any]) -> None:
    started = monotonic()
    bench.run(fn, options=SHORT)
    outcome = bench.outcome()
    assert 0.1 <= monotonic() - started < 1
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error == "JobTimeout: the attempt took longer than 0.1 s"
    assert bench.runner.wait_idle(1)


@dataclass
class Endless:
    def __post_init__(self) -> None:
        loop_for_ever()


def test_a_timeout_also_ends_the_reading_of_arguments_and_is_retried(bench: Bench) -> None:
    def task(_endless: Endless) -> None: ...

    bench.run(task, {}, options={"on_error": OnError(timeout=0.1, max_retries=1).to_json()})
    outcome = bench.outcome()
    assert outcome.verdict is Verdict.RETRY
    assert outcome.failure is not None
    assert outcome.failure.error == "JobTimeout: the attempt took longer than 0.1 s"
    assert bench.runner.wait_idle(1)


def test_the_thread_of_an_interrupted_task_goes_on_unharmed(bench: Bench) -> None:
    for _ in range(20):
        bench.run(loop_for_ever, options={"on_error": OnError(timeout=0.01, max_retries=0).to_json()})
        assert bench.outcome().verdict is Verdict.FAILED
    bench.registry.add(add)
    bench.runner.run([claimed("add", n) for n in range(3)])
    assert {bench.outcome().verdict for _ in range(3)} == {Verdict.SUCCEEDED}


def test_what_can_not_be_stopped_keeps_its_slot_and_is_logged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner_module, "STUCK_AFTER", 1)
    blocked = threading.Lock()
    blocked.acquire()
    bench.run(blocked.acquire, options=SHORT)  # a blocking call in C
    while "does not react to its JobTimeout; it keeps its slot" not in caplog.text:
        assert bench.runner.free == 2
        assert bench.outcomes.empty()
    blocked.release()
    assert bench.outcome().verdict is Verdict.FAILED
    assert bench.runner.wait_idle(1)


@pytest.mark.parametrize("fn", [loop_for_ever, await_for_ever])
def test_interrupted_jobs_are_cancelled_or_left_to_be_given_back(bench: Bench, fn: Callable[..., Any]) -> None:
    bench.run(fn)
    assert not bench.runner.wait_idle(0)
    bench.runner.interrupt(JobCancelled("enough"))
    outcome = bench.outcome()
    assert outcome.verdict is Verdict.CANCELLED
    assert bench.runner.wait_idle(1)
    bench.run(fn)
    bench.runner.interrupt(JobInterrupted("the worker stops"))
    assert bench.runner.wait_idle(1)
    assert bench.outcomes.empty()


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


def test_a_timeout_is_a_timeout_error() -> None:
    assert issubclass(JobTimeout, TimeoutError)


def test_no_thread_is_left() -> None:
    before = threading.active_count()
    bench = Bench()
    for fn in (add, add_async):
        bench.registry.add(fn)
        bench.runner.run([claimed(fn.__name__, 1)])
        bench.outcome()
    bench.runner.close()
    assert threading.active_count() == before


def keep_swallowing() -> str:
    """Drops its interrupt several times, as `except Exception` in a loop does."""
    for _ in range(4):
        with contextlib.suppress(Exception):
            loop_for_ever()
    return "fine"


async def keep_swallowing_async() -> str:
    for _ in range(4):
        with contextlib.suppress(asyncio.CancelledError):
            await await_for_ever()
    return "fine"


@pytest.mark.parametrize("fn", [keep_swallowing, keep_swallowing_async])
def test_a_task_that_drops_its_interrupt_is_interrupted_again(bench: Bench, fn: Callable[..., Any]) -> None:
    bench.run(fn, options=SHORT)
    outcome = bench.outcome()
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.type == "JobTimeout"
    assert bench.runner.wait_idle(1)


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
    assert bench.runner.wait_idle(1)
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


def test_a_task_that_ends_although_it_was_interrupted_by_the_stop_has_succeeded(bench: Bench) -> None:
    entered = threading.Event()

    def task() -> str:
        entered.set()
        with contextlib.suppress(JobInterrupted):
            loop_for_ever()
        return "done all the same"

    bench.run(task)
    entered.wait(5)
    bench.runner.interrupt(JobInterrupted("the worker stops"))
    assert bench.outcome().verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize("text", ["[" * 5000 + "]" * 5000, "[1" + "0" * 5000 + "]"])
def test_json_that_python_can_not_read_fails_its_job_alone(bench: Bench, text: str) -> None:
    bench.registry.add(add)
    bench.runner.run([claimed("add", 1)._replace(parameters=text), claimed("add", 1)])
    assert {bench.outcome().verdict for _ in range(2)} == {Verdict.FAILED, Verdict.SUCCEEDED}
    assert bench.runner.wait_idle(1)


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_task_may_ask_whether_it_was_interrupted(bench: Bench, kind: str) -> None:
    entered = threading.Event()

    def task() -> None:
        current_job().raise_if_cancelled()
        entered.set()
        while True:
            with contextlib.suppress(JobCancelled):
                entered.wait(0)
            current_job().raise_if_cancelled()

    async def task_async() -> None:
        current_job().raise_if_cancelled()
        entered.set()
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            current_job().raise_if_cancelled()

    bench.run(task if kind == "sync" else task_async)
    entered.wait(5)
    bench.runner.interrupt(JobCancelled("enough"))
    assert bench.outcome().verdict is Verdict.CANCELLED
