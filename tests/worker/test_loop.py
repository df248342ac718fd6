import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from queuer import DatabaseUnavailable
from queuer.worker import loop as loops
from queuer.worker.loop import Loop, Step

Start = Callable[[Step], Loop]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Loop] = []

    def starting(step: Step) -> Loop:
        started.append(Loop("test", step))
        started[-1].start()
        return started[-1]

    yield starting
    for each in started:
        each.stop()


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[int]:
    """The numbers of the tries that were waited for; the waits last an hour."""
    tries: SimpleQueue[int] = SimpleQueue()

    def delay(number: int) -> float:
        tries.put(number)
        return 3600

    monkeypatch.setattr(loops, "reconnect_delay", delay)
    return tries


def test_a_step_that_failed_is_repeated_at_once_when_the_database_is_there_again(
    start: Start, delays: SimpleQueue[int]
) -> None:
    failing = [DatabaseUnavailable("away"), DatabaseUnavailable("still away")]
    done = threading.Event()

    def step() -> float | None:
        if failing:
            raise failing.pop()
        done.set()
        return None

    loop = start(step)
    assert delays.get(timeout=5) == 1
    loop.resume()
    assert delays.get(timeout=5) == 2
    loop.resume()
    assert done.wait(5)


def test_a_wake_does_not_end_the_delay_but_is_not_forgotten_either(start: Start, delays: SimpleQueue[int]) -> None:
    def step() -> float | None:
        raise DatabaseUnavailable("away")

    loop = start(step)
    assert delays.get(timeout=5) == 1
    loop.wake()
    loop.stop()  # nor does anything hold up a stop
    assert delays.empty()


def test_what_is_there_again_during_a_step_that_fails_counts(start: Start, delays: SimpleQueue[int]) -> None:
    loop: list[Loop] = []
    steps = threading.Semaphore(0)
    ready = threading.Event()

    def step() -> float | None:
        ready.wait(5)
        steps.release()
        if delays.empty():
            loop[0].resume()
            raise DatabaseUnavailable("away")
        return None

    loop.append(start(step))
    ready.set()
    assert steps.acquire(timeout=5)
    assert steps.acquire(timeout=5)
