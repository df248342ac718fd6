import asyncio
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
    monkeypatch.setattr(fine_timers, "TOO_LARGE", 0)
    assert shortest_sleep(loop, 0.0004) >= 0.001


def test_what_comes_in_ends_the_wait(loop: asyncio.AbstractEventLoop) -> None:
    async def receive() -> bytes:
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            loop.call_later(0.001, there.send, b"now")
            return await asyncio.wait_for(loop.sock_recv(here, 3), 60)

    assert loop.run_until_complete(receive()) == b"now"


def test_the_loop_that_the_application_has_chosen_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Chosen(asyncio.SelectorEventLoop):
        pass

    monkeypatch.setattr(asyncio, "new_event_loop", Chosen)
    loop = fine_timers.new_event_loop()
    assert type(loop) is Chosen
    loop.close()
