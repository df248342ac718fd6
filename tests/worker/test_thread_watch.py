import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from queuer.worker.thread_watch import MANY, ThreadWatch

Start = Callable[[int, str], None]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts threads that run until the test ends."""
    ending = threading.Event()
    threads: list[threading.Thread] = []

    def start_many(count: int, name: str) -> None:
        begun = [threading.Thread(target=ending.wait, name=f"{name} {n}") for n in range(count)]
        for thread in begun:
            thread.start()
        threads.extend(begun)

    yield start_many
    ending.set()
    for thread in threads:
        thread.join()


def test_many_threads_that_stay_are_named_once_with_the_tasks_that_ran(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    watch = ThreadWatch()
    watch.ran(["b", "a", "b"])
    start(MANY - 1, "leaked")
    watch.look()
    assert caplog.messages == []
    start(1, "leaked last")
    watch.look()
    watch.look()
    (message,) = caplog.messages
    assert message.startswith(f"{MANY} threads were started in this process and still run")
    assert "leaked 0, leaked 1, leaked 10" in message
    assert "these tasks ran meanwhile: a, b;" in message
    start(MANY, "more")
    watch.look()
    assert "tasks ran meanwhile: none" in caplog.messages[-1]


def test_threads_of_the_worker_and_those_that_were_there_are_none_of_them(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    start(MANY, "there before")
    watch = ThreadWatch()
    start(MANY, "queuer task")
    watch.look()
    assert caplog.messages == []
