import threading
from collections.abc import Iterator
from functools import partial
from queue import SimpleQueue

import pytest
from support.bench import NONE, Bench
from support.contract import eventually
from support.jobs import claimed

from queuer.tasks import TaskRegistry
from queuer.values import Outcome, Verdict
from queuer.worker import threads
from queuer.worker.loop import Loop, Step
from queuer.worker.runner import Runner


def test_tasks_that_wait_for_each_other_run_side_by_side(bench: Bench) -> None:
    together = threading.Barrier(3, timeout=5)
    bench.registry.add(together.wait, "task")
    bench.runner.run([claimed("task", id=n) for n in range(3)])
    assert {bench.outcome().verdict for _ in range(3)} == {Verdict.SUCCEEDED}


def test_a_job_does_not_wait_for_one_that_takes_long(bench: Bench) -> None:
    """Nor for two, also when both began before anything showed that they would."""
    gate = threading.Event()
    bench.registry.add(partial(gate.wait, 5), "long")
    bench.registry.add(lambda: None, "short")
    for n in range(2):
        bench.runner.run([claimed("long", id=n)])
    bench.runner.run([claimed("short", id=2)])
    assert bench.outcome().job.task_name == "short"
    gate.set()
    assert {bench.outcome().job.task_name for _ in range(2)} == {"long"}


def test_short_tasks_share_a_thread(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOK_AFTER", 60)  # on a busy machine even these take long
    before = set(threading.enumerate())
    bench.registry.add(lambda: None, "task")
    bench.runner.run([claimed("task", id=n) for n in range(100)])
    for _ in range(100):
        bench.outcome()
    made = set(threading.enumerate()) - before
    assert [thread.name for thread in made if "task" in thread.name] == ["queuer task 1"]


class Late(threading.Thread):
    """A thread that does not get the processor, unless it is the first that tasks have."""

    gate = threading.Event()

    def run(self) -> None:
        if self.name.startswith("queuer task") and self.name != "queuer task 1":
            self.gate.wait()
        super().run()


class Crowded:
    """A worker with a hundred long tasks, on a machine whose processors are full."""

    def __init__(self) -> None:
        self._before = set(threading.enumerate())
        self._ends, self._outcomes, registry = threading.Semaphore(0), SimpleQueue[Outcome](), TaskRegistry()
        registry.add(self._ends.acquire, "task")
        self._runner = Runner(
            100, None, find=registry.get, report=self._outcomes.put, freed=lambda: None, transactions=NONE
        )
        self._runner.start()
        for n in range(20):  # its thread has rested now and then
            self._ends.release()
            self._runner.run([claimed("task", id=n)])
            self._outcomes.get(timeout=5)
        self._runner.run([claimed("task", id=n) for n in range(100)])

    def threads(self) -> int:
        """Those that were made for tasks."""
        made = set(threading.enumerate()) - self._before
        return sum(thread.name.startswith("queuer task") for thread in made)

    def end(self) -> None:
        Late.gate.set()
        self._ends.release(100)
        assert {self._outcomes.get(timeout=5).verdict for _ in range(100)} == {Verdict.SUCCEEDED}
        self._runner.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[None]:
    """One for each look at the row."""
    looks = SimpleQueue[None]()

    def counting(name: str, step: Step) -> Loop:
        def count() -> float | None:
            looks.put(None)
            return step()

        return Loop(name, count)

    monkeypatch.setattr(threads, "Loop", counting)
    return looks


@pytest.fixture
def crowded(looks: SimpleQueue[None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Crowded]:
    monkeypatch.setattr(threading, "Thread", Late)
    Late.gate.clear()
    worker = Crowded()
    yield worker
    worker.end()


def test_threads_that_have_not_got_to_work_are_no_reason_for_more(
    crowded: Crowded, looks: SimpleQueue[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine all of a drain's short tasks may seem to be long for a moment."""
    monkeypatch.setattr(threads, "PATIENT_LOOKS", 1_000_000)
    eventually(lambda: crowded.threads() >= threads.GROWTH)
    for _ in range(looks.qsize() + 10):
        looks.get(timeout=5)
    assert crowded.threads() == threads.GROWTH


def test_a_thread_that_never_gets_to_work_does_not_keep_others_from_it_for_ever(
    crowded: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "PATIENT_LOOKS", 2)
    eventually(lambda: crowded.threads() > threads.GROWTH)


def test_a_long_task_behind_a_short_one_leaves_room_for_others(bench: Bench) -> None:
    gate = threading.Event()
    bench.registry.add(partial(gate.wait, 5), "long")
    bench.registry.add(lambda: None, "short")
    bench.runner.run([claimed("short", id=1), claimed("long", id=2)])
    assert bench.runner.room() > 0 or bench.freed.wait(5)
    assert bench.outcome().job.task_name == "short"
    eventually(lambda: bench.runner.room() == 2)
    gate.set()
    bench.outcome()


def test_there_is_room_again_when_half_of_many_have_begun() -> None:
    gate = threading.Semaphore(0)
    registry, outcomes, freed = TaskRegistry(), SimpleQueue[Outcome](), threading.Event()
    registry.add(gate.acquire, "task")
    runner = Runner(100, None, find=registry.get, report=outcomes.put, freed=freed.set, transactions=NONE)
    runner._threads._most = 1  # type: ignore[attr-defined]  # noqa: SLF001 - so that the others wait
    runner.start()
    runner.run([claimed("task", id=n) for n in range(100)])
    assert runner.room() == 0
    for _ in range(48):
        gate.release()
        outcomes.get(timeout=5)
    assert runner.room() == 0
    freed.clear()
    gate.release()
    assert freed.wait(5)
    assert runner.room() == 49
    for _ in range(51):
        gate.release()
    runner.close()
