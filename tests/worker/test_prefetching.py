"""Jobs that the runner is given without a slot for them."""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any

import pytest
from support import process_tasks
from support.bench import SHORT, Bench, add, add_async, loop_for_ever
from support.jobs import claimed

from queuer import OnError
from queuer.errors import JobCancelled, JobInterrupted
from queuer.values import Verdict
from queuer.worker import attempt as attempt_module
from queuer.worker.attempt import Attempt


class Gate:
    """Tasks that run until they are let go."""

    def __init__(self) -> None:
        self.begun: SimpleQueue[int] = SimpleQueue()
        self._may_go = threading.Semaphore(0)

    def sync(self, number: int) -> int:
        self.begun.put(number)
        self._may_go.acquire()
        return number

    async def coroutine(self, number: int) -> int:
        return await asyncio.to_thread(self.sync, number)

    def let_go(self, count: int = 1) -> None:
        self._may_go.release(count)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is given back because the machine is slow."""
    monkeypatch.setattr(attempt_module, "GIVEN_BACK_AFTER", 60.0)


@pytest.fixture
def gate(bench: Bench) -> Gate:
    gate = Gate()
    bench.registry.add(gate.sync, "sync")
    bench.registry.add(gate.coroutine, "coroutine")
    return gate


def fill(bench: Bench, gate: Gate, waiting: int, kinds: tuple[str, ...] = ("sync",)) -> list[Attempt]:
    """Gives the runner jobs for its three slots, and others; returns the attempts at those."""
    bench.runner.run([claimed(kinds[n % len(kinds)], n, id=n) for n in range(3 + waiting)])
    assert {gate.begun.get(timeout=5) for _ in range(3)} == {0, 1, 2}
    return sorted((one for one in bench.runner.running() if one.job.id >= 3), key=lambda one: one.job.id)


@pytest.mark.parametrize("kinds", [("sync",), ("coroutine",), ("sync", "coroutine")], ids=" and ".join)
def test_they_wait_for_one(bench: Bench, gate: Gate, kinds: tuple[str, ...]) -> None:
    fill(bench, gate, 2, kinds)
    assert (bench.runner.room(), bench.runner.waiting) == (0, 2)
    for waiting in (3, 4):
        assert gate.begun.empty()
        gate.let_go()
        assert gate.begun.get(timeout=5) == waiting
    gate.let_go(3)
    assert bench.runner.wait_idle(5)
    assert bench.runner.room() == 3


def test_short_tasks_are_never_more_at_once_than_slots(bench: Bench) -> None:
    running: set[int] = set()
    most: list[int] = []

    def sync(number: int) -> None:
        running.add(number)
        most.append(len(running))
        threading.Event().wait(0.001)
        running.discard(number)

    async def coroutine(number: int) -> None:
        running.add(number)
        await asyncio.sleep(0)
        most.append(len(running))
        running.discard(number)

    bench.registry.add(sync, "short")
    bench.registry.add(coroutine, "shorter")
    bench.runner.run([claimed(("short", "shorter")[n % 2], n, id=n) for n in range(300)])
    assert [bench.outcome().verdict for _ in range(300)] == [Verdict.SUCCEEDED] * 300
    assert max(most) <= 3


def test_what_one_sets_in_its_context_does_not_reach_the_next(bench: Bench) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
    seen: list[str] = []

    async def task(number: int) -> None:
        seen.append(tenant.get())
        tenant.set(f"{number}")
        await asyncio.sleep(0)

    bench.registry.add(task)
    bench.runner.run([claimed("task", n, id=n) for n in range(9)])
    for _ in range(9):
        bench.outcome()
    assert seen == ["nobody"] * 9


def plain_factory(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.Task(coroutine, loop=loop)


@pytest.mark.parametrize("factory", [plain_factory, getattr(asyncio, "eager_task_factory", plain_factory)])
def test_coroutines_run_with_whatever_task_factory_one_of_them_has_set(bench: Bench, factory: Any) -> None:
    """Also with one that begins them at once."""

    async def choose() -> None:
        asyncio.get_running_loop().set_task_factory(factory)

    bench.registry.add(choose)
    bench.registry.add(add_async)
    bench.registry.add(add_at_once)
    bench.runner.run([claimed("choose")])
    bench.outcome()
    for _ in range(2):
        bench.runner.run([claimed(("add_async", "add_at_once")[n % 2], n, id=n) for n in range(20)])
        assert {bench.outcome().verdict for _ in range(20)} == {Verdict.SUCCEEDED}
    assert bench.runner.room() == 3


async def add_at_once(a: int, b: int = 1) -> int:
    return a + b


def test_they_do_not_wait_for_a_coroutine_that_can_not_begin(bench: Bench, gate: Gate) -> None:
    """Since another blocks the event loop."""
    may_go_on = threading.Event()

    async def block() -> None:
        may_go_on.wait(10)

    bench.registry.add(block)
    bench.runner.run([claimed("block"), claimed("block"), *(claimed("sync", n, id=n) for n in range(3))])
    for n in range(3):
        assert gate.begun.get(timeout=5) == n
        gate.let_go()
    may_go_on.set()
    assert bench.runner.wait_idle(5)


def test_there_is_room_for_them_while_a_backlog_of_short_tasks_is_drained(bench: Bench) -> None:
    bench.registry.add(add)
    for n in range(20):  # more than once in case the machine was busy with something else
        bench.runner.room(is_draining=False)
        bench.runner.run([claimed("add", n, id=n)] * 3)
        assert bench.runner.wait_idle(5)
        if (room := bench.runner.room(is_draining=True)) == 6:
            break
    assert room == 6
    assert bench.runner.room(is_draining=False) == 3


def test_their_time_counts_from_the_slot(bench: Bench) -> None:
    bench.registry.add(loop_for_ever)
    bench.registry.add(add)
    longer = {"on_error": OnError(timeout=0.15, max_retries=0).to_json()}
    bench.runner.run([claimed("loop_for_ever", options=longer)] * 3 + [claimed("add", 1, options=SHORT)])
    outcomes = [bench.outcome() for _ in range(4)]
    assert {outcome.verdict for outcome in outcomes if outcome.job.task_name == "add"} == {Verdict.SUCCEEDED}


def test_those_that_wait_for_too_long_are_given_back(bench: Bench, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "GIVEN_BACK_AFTER", 0.05)
    bench.runner.run([claimed("sync", n, id=n) for n in range(5)])
    outcomes = [bench.outcome() for _ in range(2)]
    assert {(outcome.job.id, outcome.verdict) for outcome in outcomes} == {(3, Verdict.UNBEGUN), (4, Verdict.UNBEGUN)}
    assert {attempt.job.id for attempt in bench.runner.running()} == {0, 1, 2}
    gate.let_go(3)
    assert bench.runner.wait_idle(5)
    assert {gate.begun.get_nowait() for _ in range(3)} == {0, 1, 2}
    assert gate.begun.empty()


def test_a_worker_that_stops_gives_them_back(bench: Bench, gate: Gate) -> None:
    fill(bench, gate, 2)
    bench.runner.let_go()
    assert {bench.outcomes.get_nowait().verdict for _ in range(2)} == {Verdict.UNBEGUN}
    gate.let_go(3)
    assert bench.runner.wait_idle(5)
    assert gate.begun.empty()


def test_they_can_be_cancelled(bench: Bench, gate: Gate) -> None:
    first, _ = fill(bench, gate, 2)
    bench.runner.interrupt(JobCancelled("enough"), [first])
    outcome = bench.outcomes.get_nowait()
    assert (outcome.job.id, outcome.verdict) == (3, Verdict.CANCELLED)
    gate.let_go()
    assert gate.begun.get(timeout=5) == 4
    gate.let_go(3)
    assert bench.runner.wait_idle(5)


def test_of_those_that_are_no_longer_the_workers_nothing_is_told(bench: Bench, gate: Gate) -> None:
    (lost,) = fill(bench, gate, 1)
    bench.runner.interrupt(JobInterrupted("lost"), [lost])
    gate.let_go(3)
    assert bench.runner.wait_idle(5)
    assert {bench.outcomes.get_nowait().job.id for _ in range(3)} == {0, 1, 2}
    assert bench.outcomes.empty()
    assert gate.begun.empty()


def no_thread(name: str) -> tuple[object, str, Callable[..., None]]:
    """No room for a thread of this name."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == name:
            raise RuntimeError("can't start new thread")
        start(self)

    return threading.Thread, "start", refuse


def no_files() -> tuple[object, str, Callable[..., None]]:
    def refuse() -> None:
        raise OSError(24, "Too many open files")

    return asyncio, "new_event_loop", refuse


@pytest.mark.parametrize(
    ("executor", "want"),
    [
        ("thread", no_thread("queuer watcher")),
        ("loop", no_thread("queuer event loop")),
        ("loop", no_files()),
        ("process", no_thread("queuer child 2")),
    ],
    ids=["thread", "event loop", "files", "process"],
)
def test_tasks_that_can_not_begin_run_again(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    want: tuple[object, str, Callable[..., None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    fn = {"thread": add, "loop": asyncio.sleep, "process": process_tasks.pid}[executor]
    parameters = [] if executor == "process" else [0]
    bench.registry.add(fn, "task", "process" if executor == "process" else "thread")
    with monkeypatch.context() as patch:
        patch.setattr(*want)
        bench.runner.run([claimed("task", *parameters, id=n) for n in range(5)])
        assert [bench.outcomes.get_nowait().verdict for _ in range(3)] == [Verdict.RETRY] * 3
    assert "3 tasks could not begin" in caplog.text
    bench.runner.run([claimed("task", *parameters, id=9)])
    assert {bench.outcomes.get(timeout=20).verdict for _ in range(3)} == {Verdict.SUCCEEDED}
    assert bench.runner.wait_idle(5)


def test_a_task_that_can_not_begin_in_the_slot_of_another_runs_again(
    bench: Bench, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bench, gate, 0)
    bench.runner.run([claimed("coroutine", n, id=n) for n in (3, 4)])
    with monkeypatch.context() as patch:
        patch.setattr(*no_files())
        gate.let_go()
        assert {bench.outcome().verdict for _ in range(2)} == {Verdict.SUCCEEDED, Verdict.RETRY}
    gate.let_go(3)
    assert {bench.outcome().verdict for _ in range(3)} == {Verdict.SUCCEEDED}
    assert gate.begun.get(timeout=5) == 4
    assert bench.runner.wait_idle(5)


def test_a_thread_that_one_child_process_brings_about_can_be_interrupted(bench: Bench) -> None:
    """By Ctrl+C, in what the task starts there: it inherits the signals that are blocked."""
    bench.registry.add(process_tasks.pid, "process", "process")
    bench.registry.add(lambda: signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "sync")
    bench.runner.run([claimed("process", id=n) for n in range(3)] + [claimed("sync", id=3)])
    outcomes = [bench.outcomes.get(timeout=20) for _ in range(4)]
    assert [outcome.results for outcome in outcomes if outcome.job.id == 3] == ["[false]"]
