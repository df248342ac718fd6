import asyncio
import select
import selectors
import socket
import sys
from collections.abc import Iterator
from time import monotonic

import pytest

from queuer.worker import fine_timers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there asyncio waits whole milliseconds")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = fine_timers.new_event_loop()
    yield loop
    loop.close()


def shortest_sleep(loop: asyncio.AbstractEventLoop, seconds: float) -> float:
    async def sleep() -> float:
        began = monotonic()
        await asyncio.sleep(seconds)
        return monotonic() - began

    return min(loop.run_until_complete(sleep()) for _ in range(100))


def test_timers_take_fractions_of_a_millisecond(loop: asyncio.AbstractEventLoop) -> None:
    assert 0.0004 <= shortest_sleep(loop, 0.0004) < 0.001


def test_with_many_open_files_they_take_whole_milliseconds(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than fail: select() takes no such file descriptors."""
    monkeypatch.setattr(fine_timers, "TOO_LARGE", 0)
    monkeypatch.setattr(select, "select", None)
    assert shortest_sleep(loop, 0.0004) >= 0.0004


def test_what_comes_in_ends_the_wait(loop: asyncio.AbstractEventLoop) -> None:
    async def receive() -> bytes:
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            loop.call_later(0.001, there.send, b"now")
            return await asyncio.wait_for(loop.sock_recv(here, 3), 60)

    began = monotonic()
    assert loop.run_until_complete(receive()) == b"now"
    assert monotonic() - began < 30


def test_what_the_application_has_set_on_its_loops_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Chosen(asyncio.SelectorEventLoop):
        def __init__(self) -> None:
            super().__init__()
            self.set_debug(True)

    monkeypatch.setattr(asyncio, "new_event_loop", Chosen)
    loop = fine_timers.new_event_loop()
    assert type(loop) is Chosen
    assert loop.get_debug()
    assert shortest_sleep(loop, 0.0004) < 0.001
    loop.close()


def test_a_loop_that_waits_in_another_way_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    selector = selectors.SelectSelector()
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: asyncio.SelectorEventLoop(selector))
    loop = fine_timers.new_event_loop()
    assert type(selector) is selectors.SelectSelector
    assert shortest_sleep(loop, 0) < 1
    loop.close()
