"""The slots: which attempts have one, which wait for one, and how soon others come free."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from queuer.worker.attempt import NEVER, Attempt

#: Seconds for which attempts may wait for a slot by what is known: as many are prefetched as slots came free in that
#: time until now. A claim takes a few milliseconds, in which slots would be idle else, and tasks that began together
#: end together. No more than a start may be late anyway, and far less than after which one is given back.
PREFETCHED_FOR = 0.05


class Slots:
    """Attempts: `most` of them have a slot, others wait for one in their order. Any thread may call.

    Args:
        clock: Seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._clock = clock
        self._attempts: set[Attempt] = set()
        #: Those among them that wait.
        self.row: deque[Attempt] = deque()
        self._lock = threading.Lock()
        self._ended = 0  # about
        self._counted_since = clock()
        self._turnover = NEVER  # seconds in which as many attempts ended as there are slots

    def __len__(self) -> int:
        return len(self._attempts)

    @property
    def free(self) -> int:
        return self._most - len(self._attempts) + len(self.row)

    def attempts(self) -> list[Attempt]:
        return list(self._attempts)

    def add(self, attempts: Sequence[Attempt]) -> None:
        """Lets these wait for slots."""
        with self._lock:
            self._attempts.update(attempts)
            self.row.extend(attempts)

    def fill(self) -> Sequence[Attempt]:
        """Those that get a slot now. Their time begins to count."""
        with self._lock:
            begun = [self.row.popleft() for _ in range(min(self.free, len(self.row)))]
            for attempt in begun:
                attempt.begin_time()
        return begun

    def withdraw(self, attempt: Attempt) -> bool:
        """Tells whether it waited. Then it gets no slot any more, and is to end."""
        with self._lock:
            try:
                self.row.remove(attempt)
            except ValueError:
                return False
            self._ended -= 1  # it will be counted, and no slot comes free
            self._turnover = NEVER  # what was known led us astray: none until all slots have come free once more
            return True

    def withdraw_all(self) -> Sequence[Attempt]:
        """Those that waited."""
        with self._lock:
            waited = list(self.row)
            self.row.clear()
            return waited

    def end(self, attempt: Attempt) -> None:
        """There is one less."""
        self._attempts.discard(attempt)
        self._ended += 1

    def to_prefetch(self, *, is_draining: bool) -> int:
        """How many attempts may wait for a slot: none, but while a backlog is drained.

        What counts is how fast slots come free, not how long tasks take that have ended: others may hold on to theirs.
        """
        now = self._clock()
        if not is_draining:
            self._turnover, self._counted_since, self._ended = NEVER, now, 0
            return 0
        elapsed = now - self._counted_since
        ended = self._ended
        if ended >= self._most:
            self._turnover = elapsed * self._most / ended
            self._counted_since, self._ended = now, 0
        seconds = max(self._turnover, elapsed)
        return min(self._most, round(self._most * PREFETCHED_FOR / seconds)) if seconds else 0
