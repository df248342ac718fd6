import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

import pytest
from support.bench import SHORT, Bench, add, await_for_ever, loop_for_ever
from support.jobs import claimed

from queuer import JobTimeout, OnError, current_job
from queuer.errors import JobCancelled, JobInterrupted
from queuer.values import Verdict
from queuer.worker import watchdog as watchdog_module


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
    assert 0.1 <= monotonic() - started < 5
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error == "JobTimeout: the attempt took longer than 0.1 s"
    assert bench.runner.wait_idle(5)


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
    assert bench.runner.wait_idle(5)


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
    monkeypatch.setattr(watchdog_module, "STUCK_AFTER", 1)
    blocked = threading.Lock()
    blocked.acquire()
    bench.run(blocked.acquire, options=SHORT)  # a blocking call in C
    while "does not react to its JobTimeout; it keeps its slot" not in caplog.text:
        assert bench.runner.room() == 2
        assert bench.outcomes.empty()
    blocked.release()
    assert bench.outcome().verdict is Verdict.FAILED
    assert bench.runner.wait_idle(5)


@pytest.mark.parametrize("fn", [loop_for_ever, await_for_ever])
def test_interrupted_jobs_are_cancelled_or_left_to_be_given_back(bench: Bench, fn: Callable[..., Any]) -> None:
    bench.run(fn)
    assert not bench.runner.wait_idle(0)
    bench.runner.interrupt(JobCancelled("enough"))
    outcome = bench.outcome()
    assert outcome.verdict is Verdict.CANCELLED
    assert bench.runner.wait_idle(5)
    bench.run(fn)
    bench.runner.interrupt(JobInterrupted("the worker stops"))
    assert bench.runner.wait_idle(5)
    assert bench.outcomes.empty()


def test_a_timeout_is_a_timeout_error() -> None:
    assert issubclass(JobTimeout, TimeoutError)


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
    assert bench.runner.wait_idle(5)


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


def test_a_coroutine_that_is_interrupted_before_its_turn_does_not_begin(bench: Bench) -> None:
    entered, go_on, begun = threading.Event(), threading.Event(), threading.Event()

    async def blocking() -> None:
        entered.set()
        go_on.wait(5)

    async def task() -> None:
        begun.set()

    bench.registry.add(blocking)
    bench.registry.add(task)
    bench.runner.run([claimed("blocking", id=1)])
    assert entered.wait(5)
    bench.runner.run([claimed("task", id=2)])
    bench.runner.interrupt(JobCancelled("enough"), [each for each in bench.runner.running() if each.job.id == 2])
    go_on.set()
    verdicts = {(outcome := bench.outcome()).job.id: outcome.verdict for _ in range(2)}
    assert verdicts == {1: Verdict.SUCCEEDED, 2: Verdict.CANCELLED}
    assert not begun.is_set()
