"""Waiting for jobs to end: any number of waiters, one connection that listens, no asking again and again."""

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from uuid import UUID

from queuer.events import read_ended
from queuer.models import JobArchive
from queuer.worker.loop import Loop

#: Where an ended job arrives.
Mailbox = SimpleQueue[JobArchive]


class Waiting:
    """Those who wait, and what brings them the news.

    Args:
        find_ended: The ended ones among some jobs.
    """

    def __init__(self, find_ended: Callable[[Collection[UUID]], Sequence[JobArchive]]) -> None:
        self._find_ended = find_ended
        self._waiters: dict[UUID, set[Mailbox]] = {}
        self._to_look_up: set[UUID] = set()
        self._lock = threading.Lock()
        self._loop = Loop("waiting", self._look_up)
        self.start = self._loop.start
        self.stop = self._loop.stop

    @contextmanager
    def expect(self, rid: UUID) -> Iterator[Callable[[float], JobArchive | None]]:
        """Takes note of news about a job from here on. Yields what waits for them, so many seconds at most."""
        mailbox: Mailbox = SimpleQueue()
        with self._lock:
            self._waiters.setdefault(rid, set()).add(mailbox)
        try:
            yield lambda timeout: _receive(mailbox, timeout)
        finally:
            with self._lock:
                self._waiters[rid].discard(mailbox)
                if not self._waiters[rid]:
                    del self._waiters[rid]

    def tell(self, payload: str | None) -> None:
        """A notification came: jobs have ended. None = some may have, unheard."""
        named = None if payload is None else read_ended(payload)
        with self._lock:
            concerned = self._waiters.keys() if named is None else self._waiters.keys() & named
            if not concerned:
                return
            self._to_look_up |= concerned
        self._loop.wake()

    def _look_up(self) -> float | None:
        with self._lock:
            self._to_look_up &= self._waiters.keys()
            rids = list(self._to_look_up)
        if not rids:
            return None
        for job in self._find_ended(rids):
            with self._lock:
                for mailbox in self._waiters.get(job.rid, ()):
                    mailbox.put(job)
        with self._lock:
            self._to_look_up.difference_update(rids)
        return None


def _receive(mailbox: Mailbox, timeout: float) -> JobArchive | None:
    try:
        return mailbox.get(timeout=timeout)
    except Empty:
        return None
