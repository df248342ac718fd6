"""Waiting for jobs to end: any number of waiters, one connection that listens, no asking again and again."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from uuid import UUID

from queuer.events import read_rids
from queuer.models import JobArchive
from queuer.worker.loop import Loop

#: Takes an ended job, in another thread than the one that waits for it; None = wait no longer.
Deliver = Callable[[JobArchive | None], None]


class Waiting:
    """Those who wait, and what brings them the news.

    Args:
        find_ended: The ended ones among some jobs.
    """

    def __init__(self, find_ended: Callable[[Collection[UUID]], Sequence[JobArchive]]) -> None:
        self._find_ended = find_ended
        self._waiters: dict[UUID, list[Deliver]] = {}
        self._to_look_up: set[UUID] = set()
        self._lock = threading.Lock()
        self._loop = Loop("waiting", self._look_up)
        self.start = self._loop.start
        #: Whether nobody waits any longer.
        self.is_stopped = False

    def stop(self) -> None:
        """Ends the thread. Nobody waits any longer."""
        self._loop.stop()
        with self._lock:
            self.is_stopped = True
            for deliver in [each for waiters in self._waiters.values() for each in waiters]:
                deliver(None)

    @contextmanager
    def expect(self, rid: UUID) -> Iterator[Callable[[float], JobArchive | None]]:
        """Takes note of the end of a job from here on. Yields what waits for it, so many seconds at most."""
        mailbox: SimpleQueue[JobArchive | None] = SimpleQueue()

        def receive(timeout: float) -> JobArchive | None:
            try:
                return mailbox.get(timeout=timeout)
            except Empty:
                return None

        with self._delivering(rid, mailbox.put):
            yield receive

    @contextmanager
    def expect_async(self, rid: UUID) -> Iterator[Callable[[float], Awaitable[JobArchive | None]]]:
        """`expect` for a coroutine."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[JobArchive | None] = loop.create_future()

        def settle(job: JobArchive | None) -> None:
            if not future.done():
                future.set_result(job)

        def deliver(job: JobArchive | None) -> None:
            with suppress(RuntimeError):  # its loop has ended, and with it who waited
                loop.call_soon_threadsafe(settle, job)

        async def receive(timeout: float) -> JobArchive | None:  # noqa: ASYNC109 - as of its twin
            done, _ = await asyncio.wait([future], timeout=timeout)
            return future.result() if done else None

        with self._delivering(rid, deliver):
            yield receive

    @contextmanager
    def _delivering(self, rid: UUID, deliver: Deliver) -> Iterator[None]:
        with self._lock:
            self._waiters.setdefault(rid, []).append(deliver)
        try:
            yield
        finally:
            with self._lock:
                self._waiters[rid].remove(deliver)
                if not self._waiters[rid]:
                    del self._waiters[rid]

    def tell(self, payload: str | None) -> None:
        """A notification came: these jobs have ended. None = some may have, unheard."""
        with self._lock:
            concerned = self._waiters.keys() if payload is None else self._waiters.keys() & read_rids(payload)
            self._to_look_up |= concerned
        if concerned:
            self._loop.wake()

    def _look_up(self) -> float | None:
        with self._lock:
            rids = self._to_look_up & self._waiters.keys()
            self._to_look_up.clear()  # before looking: what is told meanwhile must count
        if not rids:
            return None
        try:
            found = self._find_ended(rids)
        except Exception:
            with self._lock:
                self._to_look_up |= rids
            raise
        for job in found:
            with self._lock:
                for deliver in self._waiters.get(job.rid, ()):
                    deliver(job)
        return None
