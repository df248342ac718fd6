"""Sees to it that attempts end when their time is up."""

import logging
from collections.abc import Callable, Collection, Sequence
from time import monotonic

from queuer.errors import JobTimeout
from queuer.worker.attempt import NEVER, REPEAT_AFTER, Attempt
from queuer.worker.loop import Loop

logger = logging.getLogger(__name__)

#: Seconds that are the longest pause between two interrupts of a task that does not end.
LONGEST_PAUSE = 5.0

#: Tries after which a task is called unstoppable: some five seconds.
STUCK_AFTER = 10


class Watchdog:
    """Interrupts attempts that have taken too long, and those again that were interrupted and don't end.

    Args:
        attempts: All that there are.
        let_go: Gives one back if it still waits for a slot, and tells whether it did.
    """

    def __init__(self, attempts: Callable[[], Sequence[Attempt]], let_go: Callable[[Attempt], bool]) -> None:
        self._attempts = attempts
        self._let_go = let_go
        self._next_look = NEVER
        self._loop = Loop("watchdog", self._look)
        self.start = self._loop.start
        self.stop = self._loop.stop
        self.wake = self._loop.wake

    def watch(self, attempts: Collection[Attempt]) -> None:
        """Wakes it only if it has to look at one of these before it would by itself."""
        for attempt in attempts:
            if attempt.look_at < self._next_look:
                self.wake()
                return

    def _look(self) -> float | None:
        self._next_look = NEVER  # before looking, so that whoever comes in meanwhile wakes us
        now = monotonic()
        for attempt in self._attempts():
            if attempt.look_at <= now:
                self._escalate(attempt, now)
        soonest = min((attempt.look_at for attempt in self._attempts()), default=NEVER)
        if soonest == NEVER:
            return None
        self._next_look = soonest
        return max(0.001, soonest - now)

    def _escalate(self, attempt: Attempt, now: float) -> None:
        if attempt.interrupted_by is None:
            if self._let_go(attempt) or attempt.look_at > now:  # it may have got a slot just now
                return
            attempt.interrupt(JobTimeout(f"the attempt took longer than {attempt.on_error.timeout:g} s"))
            return
        attempt.interrupt_again(now)
        attempt.tries += 1
        attempt.look_at = now + min(LONGEST_PAUSE, REPEAT_AFTER * attempt.tries)
        if attempt.tries == STUCK_AFTER:
            logger.warning(
                "task %r of job %s does not react to its %s; it keeps its slot until it returns",
                attempt.job.task_name,
                attempt.job.rid,
                type(attempt.interrupted_by).__name__,
            )
